# SPDX-License-Identifier: MIT
"""Constants every part of the recipe shares: sizes, character set, roles, prompts, folders."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ASSETS = os.environ.get("READER_ASSETS", os.path.join(ROOT, "training", "assets"))

SIZE = 448                    # model input, pixels a side
PATCH = 16
GRID = SIZE // PATCH          # 28 patches a side
IMAGE_TOKENS = GRID * GRID    # 784
CELL_W, CELL_H = 4, 8         # dense supervision: one glyph class per 4x8 pixel cell
CELLS_X, CELLS_Y = SIZE // CELL_W, SIZE // CELL_H
PAD_RGB = (122, 116, 104)     # CLIP's mean colour, what pages are padded to a square with
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

CHARSET = ("".join(chr(i) for i in range(33, 127))
           + "¡¢£¥§©«®°·»¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿ"
           + "ĀāĂăĄąĆćČčĎďĐđĒēĖėĘęĚěĞğĢģĪīĮįİıĶķĹĺĻļĽľŁłŃńŅņŇňŌōŐőŒœŔŕŘřŚśŞşŠšŢţŤťŪūŮůŰűŲųŸŹźŻżŽžȘșȚț"
           + "–—‘’‚“”„•…‹›€™\ufb01\ufb02")
NCLASS = len(CHARSET) + 1     # class 0: no glyph centre in this cell
SPACE = 0                     # glyph index 0 is the space; glyph i draws CHARSET[i - 1]

R_NONE, R_HEAD, R_BYLINE, R_SITE, R_DATE, R_LEAD, R_OTHER = range(7)
NROLE = 7
FIELDS = ("headline", "byline", "site", "date", "lead")
NONE, UNREADABLE = "none", "unreadable"

QUESTIONS = {
    "headline": "What is the headline?",
    "byline": "Who wrote it?",
    "site": "What site or paper is it?",
    "date": "When was it published?",
    "lead": "Read the first paragraph.",
}
PARAPHRASES = {
    "headline": ["What does the headline say?", "Read the headline.", "List the headline.",
                 "What is the title of this article?", "Transcribe the headline."],
    "byline": ["Who is the author?", "Who wrote this article?", "What is the byline?", "Name the author."],
    "site": ["Which newspaper is this?", "What is the name of the site?", "Which site published it?",
             "What is the source?"],
    "date": ["What is the date?", "What date was it published?", "When did it appear?"],
    "lead": ["What does the first paragraph say?", "Transcribe the first paragraph.", "Read the lead."],
    "describe": ["Describe this image for a news desk.", "Describe this page.", "Describe the image."],
}
BOS, EOS, PAD, IMG = 0, 1, 2, 3
SPECIALS = ["<s>", "</s>", "<pad>", "<image>"]
VOCAB = 1024
MAX_TEXT = 284                # packed question/answer tokens per page in training (with the image: a multiple of 8)


def describe(f):
    """The answer to "Describe this image ...": built from the fields, nothing else."""
    if f["headline"] == UNREADABLE:
        return UNREADABLE
    if f["headline"] == NONE:
        return "A page without a headline."
    site = "" if f["site"] in (NONE, UNREADABLE) else " from " + f["site"]
    return "A news page" + site + " with the headline: " + f["headline"]
