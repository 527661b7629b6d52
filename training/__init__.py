# SPDX-License-Identifier: MIT
"""Recipe of the bundled reader: page generator, tokenizer, trainer, evaluator, export."""
