"""Error codes of the C library, and their texts: which argument is wrong, and what it needs."""

from collections import Counter

from .source_classes import CLASSES, LACKING, Class

# Numbers are part of the ABI: add new names at the end, never remove one.
NAMES = (
    "CONFIG", "STRUCT_SIZE", "CONVENTION", "DECAY", "MAXIMIZE", "LR", "LR_SCALE", "WEIGHT_DECAY", "INV_SCALE", "T",
    "CARRY", "P", "G", "LR_SCALES", "RANGE", "TENSORS", "X", "OUT", "SQUARES", "NORM", "MAX_NORM", "FACTOR", "LIMIT",
    "AVERAGE", "UPDATES", "EMA_DECAY", "COUNT", "LOSS_SCALE", "SCALE", "GROWTH", "BACKOFF", "INTERVAL", "EVERY",
    # Arguments of single classes.
    "MOMENTUM", "DAMPENING", "NESTEROV", "ALPHA", "EPS", "CENTERED", "LR_DECAY", "INITIAL_ACCUMULATOR_VALUE", "RHO",
    "BETAS", "MOMENTUM_DECAY", "EPS_ROOT", "ETAS", "STEP_SIZES", "LAMBD", "T0", "LEARNING_RATE_POWER",
    "L1_REGULARIZATION_STRENGTH", "L2_REGULARIZATION_STRENGTH", "L2_SHRINKAGE_REGULARIZATION_STRENGTH", "BETA",
    # States.
    "MOMENTUM_BUFFER", "SQUARE_AVG", "GRAD_AVG", "SUM", "ACC_DELTA", "EXP_AVG", "EXP_AVG_SQ", "MAX_EXP_AVG_SQ",
    "EXP_INF", "EXP_AVG_VAR", "PREV", "STEP_SIZE", "AX", "ACCUMULATOR", "LINEAR",
)  # fmt: skip

_NOT_NULL = "must not be NULL"
_OWN = {
    "CONFIG": _NOT_NULL,
    "STRUCT_SIZE": "must be the size of the structure: set it with the _init function, or from sizeof",
    "CONVENTION": "must be FASTLR_TORCH, FASTLR_KERAS or FASTLR_OPTAX, and one that has this optimizer",
    "DECAY": "must be FASTLR_COUPLED, FASTLR_DECOUPLED or FASTLR_INDEPENDENT, and one that this optimizer supports",
    "MAXIMIZE": "must be 0 or 1",
    "INV_SCALE": "must be a finite number > 0",
    "T": "must be the number of the update, from 1",
    "CARRY": _NOT_NULL,
    "P": f"{_NOT_NULL}, unless the range is empty",
    "G": f"{_NOT_NULL}, unless the range is empty",
    "LR_SCALES": f"{_NOT_NULL}, unless the range is empty; leave rates per element to the function without them",
    "RANGE": "must have begin <= end, and end must be within the arrays",
    "TENSORS": f"{_NOT_NULL}, and the address of each array in it must be given",
    "X": f"{_NOT_NULL}, unless the range is empty",
    "OUT": f"{_NOT_NULL}, unless the range is empty",
    "SQUARES": f"{_NOT_NULL}, unless there are no blocks",
    "NORM": _NOT_NULL,
    "MAX_NORM": "must be a number > 0",
    "FACTOR": _NOT_NULL,
    "LIMIT": "must be a number > 0",
    "AVERAGE": f"{_NOT_NULL}, unless the range is empty",
    "UPDATES": "must be >= 0",
    "EMA_DECAY": "must be a number in [0, 1)",
    "COUNT": _NOT_NULL,
    "LOSS_SCALE": _NOT_NULL,
    "SCALE": "must be a number in the normal range of float32",
    "GROWTH": "must be a finite number > 1",
    "BACKOFF": "must be a number in (0, 1)",
    "INTERVAL": "must be >= 1",
    "EVERY": "must be >= 1",
    "NESTEROV": "must be 0 or 1; 1 needs a dampening of 0, and under FASTLR_TORCH a momentum above 0",
}
_SHOWN = {"RANGE": "begin, end", "LR_SCALES": "lr_scale"}


def number(name: str) -> int:
    """Return the code of an error."""
    return NAMES.index(name) + 1


def code(argument: str) -> str:
    """Return the constant of the error of an argument."""
    number(argument.upper())
    return f"FASTLR_ERROR_{argument.upper()}"


def texts() -> dict[str, str]:
    """Return the text of each error."""
    return {name: f"`{_SHOWN.get(name, name.lower())}` {_need(name)}" for name in NAMES}


def _need(name: str) -> str:
    if name in _OWN:
        return _OWN[name]
    argument = name.lower()
    for c in CLASSES:
        if argument in c.states:
            return "must not be NULL, unless the range is empty: this configuration uses it"
        if argument in c.flags:
            return "must be 0 or 1"
    return f"must be {_of_classes(argument)}"


def _of_classes(argument: str) -> str:
    """Return the range of a number of the configurations, and for which classes it is another one."""
    owners: dict[str, list[str]] = {}
    for c in CLASSES:
        if argument in c.numbers:
            words = {convention: _words(c, argument, convention) for convention in c.conventions}
            for convention, need in words.items():
                under = f" under FASTLR_{convention.upper()}" if len({*words.values()} - {LACKING.words}) > 1 else ""
                owners.setdefault(need, []).append(c.name + under)
    lacking = owners.pop(LACKING.words, None)
    first, *others = sorted(owners, key=lambda words: -len(owners[words]))
    said = [f"{words} for {', '.join(Counter(owners[words]))}" for words in others]
    if lacking:
        said.append(f"{LACKING.words} under a convention whose optimizer lacks it")
    if argument == "lr":
        said.append("under FASTLR_OPTAX it has no default")
    return f"{first} ({'; '.join(said)})" if said else first


def _words(c: Class, argument: str, convention: str) -> str:
    ranges = [allowed.words for _, allowed in c.ranges(argument, convention)]
    if len(ranges) == 1 or ranges[0] == LACKING.words:
        return ranges[0]
    if len({*ranges}) == 1:
        return f"two numbers, each {ranges[0]}"
    return f"two numbers, {ranges[0]} and {ranges[1]}"
