"""Every check there is, by kind of item, the gravest first. A new check is a row here and a function."""

from __future__ import annotations

from zoo.choosing.checking import class_checks, copy_checks, image_checks, label_checks, text_checks
from zoo.choosing.checking.finding import Check
from zoo.data.kinds import IMAGES, TEXTS, Kind

_OF_COPIES = (
    Check(
        "two-labels",
        "copies with two labels",
        "error",
        "Decide which label is right.",
        copy_checks.find_two_labels,
    ),
    Check("leak", "copies in two parts", "error", "Keep each in one part.", copy_checks.find_leaks),
    Check(
        "torn-group",
        "groups in two parts",
        "error",
        "Keep a group in one part.",
        copy_checks.find_torn_groups,
    ),
)
_OF_CLASSES = (
    Check("twin-names", "class names alike", "error", "Rename one of them.", class_checks.find_twin_names),
    Check(
        "small-class",
        "small classes",
        "warning",
        "Collect more, or join classes.",
        class_checks.find_small_classes,
    ),
    Check("imbalance", "uneven classes", "warning", "Train with --balance.", class_checks.find_imbalance),
)
_WRONG_LABEL = Check(
    "wrong-label",
    "labels likely wrong",
    "warning",
    "Look at each, and correct its label.",
    label_checks.find_likely_wrong_labels,
    needs_model=True,
)
_UNUSUAL = Check(
    "unusual", "unlike all others", "info", "Look at each.", label_checks.find_unlike_others, needs_model=True
)
_COPIES = Check("copy", "exact copies", "warning", "One of each is enough.", copy_checks.find_exact_copies)

CHECKS: dict[Kind, tuple[Check, ...]] = {
    IMAGES: (
        Check(
            "unreadable", "cannot be read", "error", "Fetch or save it again.", image_checks.find_unreadable
        ),
        *_OF_COPIES,
        Check("flat", "flat or a placeholder", "warning", "Remove it.", image_checks.find_flat),
        _WRONG_LABEL,
        _COPIES,
        Check("near-copy", "near copies", "warning", "One of each is enough.", copy_checks.find_near_copies),
        Check("tiny", "tiny", "warning", "Find the original.", image_checks.find_tiny),
        *_OF_CLASSES,
        _UNUSUAL,
        Check(
            "suffix",
            "wrong suffix",
            "info",
            "zoo reads it; other tools may not.",
            image_checks.find_wrong_suffixes,
        ),
        Check(
            "rotated",
            "rotated by EXIF",
            "info",
            "zoo turns it; other tools may not.",
            image_checks.find_rotated,
        ),
        Check("mode", "odd modes", "info", "zoo converts it.", image_checks.find_odd_modes),
        Check("huge", "huge", "info", "Save it smaller: decoding takes its time.", image_checks.find_huge),
    ),
    TEXTS: (
        Check("empty", "empty", "error", "Remove it.", text_checks.find_empty),
        *_OF_COPIES,
        _WRONG_LABEL,
        Check(
            "encoding",
            "wrongly decoded",
            "warning",
            "Read the source as UTF-8.",
            text_checks.find_wrong_encodings,
        ),
        _COPIES,
        *_OF_CLASSES,
        Check(
            "language", "other languages", "info", "Word vectors know one.", text_checks.find_other_languages
        ),
        _UNUSUAL,
        Check("markup", "markup left in", "info", "Remove it.", text_checks.find_markup),
    ),
}
