#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""translate.py FILE - a .cu file as C++ for emulate.h, on standard output."""
import re
import sys

text = open(sys.argv[1]).read()
text = re.sub(r'extern\s+__shared__\s+(?:__align__\(\d+\)\s+)?(\w+)\s+(\w+)\[\];',
              r'\1 *\2 = (\1 *)emulate_shared;', text)
text = re.sub(r'([\w]+(?:<[^<>;]*>)?)\s*<<<(.*?)>>>\((.*?)\);',
              r'EMULATE_LAUNCH((\1), (\2), \3);', text, flags=re.S)
text = re.sub(r'#pragma unroll.*', '', text)
for header in ('emulate.h', 'emulate_ptx.h', 'emulate_hopper.h', 'emulate_products.h'):
    print('#include "%s"' % header)
print('#line 1 "%s"' % sys.argv[1])
print(text)
