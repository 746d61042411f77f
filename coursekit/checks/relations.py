"""Say how a wrong answer is related to the expected one, over all test inputs at once."""

import inspect
import itertools
import numbers
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from coursekit.checks.compare import TOLERANCE, digits


@np.errstate(all="ignore")
def relation(yours: list, expected: list, inputs: list[dict], names: tuple[str, ...] = ()) -> str | None:
    """Return a sentence that says how yours relates to expected over all cases, None where nothing simple does.

    `yours[i]` came out of case i, with the arguments `inputs[i]`; `names` are the names of a tuple's entries.
    """
    try:
        return _told(_by_entry(yours, expected, inputs, names))
    except Exception:  # whatever a learner's function returned: the verdict does without a relation
        return None


@dataclass(frozen=True, eq=False)
class _Pair:
    """One result, the expected one, and the case they belong to: inputs that are arrays, and other facts."""

    yours: np.ndarray
    expected: np.ndarray
    tolerance: tuple[float, float]
    inputs: dict[str, np.ndarray]
    facts: list[str]

    def close(self, one, other) -> np.ndarray:
        near = np.abs(one - other) <= self.tolerance[1] + self.tolerance[0] * np.abs(other)
        return np.asarray((one == other) | near & np.isfinite(other) | np.isnan(one) & np.isnan(other))

    def same(self, one, other) -> bool:
        one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
        few = slice(None, None, 1 + one.size // 50)  # compared first
        near = one.shape == other.shape and self.close(one.ravel()[few], other.ravel()[few]).all()
        return bool(near and self.close(one, other).all())

    @cached_property
    def off(self) -> np.ndarray:
        return ~self.close(self.yours, self.expected)

    @cached_property
    def parts(self) -> dict[str, tuple[str, np.ndarray]]:
        """What broadcasts to the expected result, by name, with its kind: sizes, inputs, and their sums, norms, ..."""
        found, shape = {}, self.expected.shape
        for name, a in [*self.inputs.items(), ("the expected result", self.expected)]:
            kinds = _SIZES[a.ndim] if a.ndim < 3 else [f"size of axis {axis}" for axis in range(a.ndim)]
            for kind, length in zip(kinds, [*a.shape, a.size], strict=False):
                found[f"the {kind} of {name}"] = ("size", np.float64(length))
        for name, a in self.inputs.items():
            found[name] = ("input", a)
            axes = ((None, ""), (0, "each column of "), (1, "each row of "))[: 3 if a.ndim == 2 else 1]
            for (stat, f), (axis, of) in itertools.product(_STATS.items(), axes):
                q = f(a, axis=axis, keepdims=axis is not None and len(shape) > 1)
                found[f"the {stat} of {of}{name}"] = ("stat", q)
        fitting = ((), shape, shape[1:], (*shape[:1], 1), (1, *shape[1:]))
        return {name: part for name, part in found.items() if np.shape(part[1]) in fitting}


class _Cases:
    """All pairs of one result, those that are wrong first, and the wrong numbers of all of them side by side."""

    def __init__(self, pairs: list[_Pair]) -> None:
        self.of_one_shape = all(pair.yours.shape == pair.expected.shape for pair in pairs)
        self.wrong = [pair for pair in pairs if pair.yours.shape != pair.expected.shape or pair.off.any()]
        self.pairs = self.wrong + [pair for pair in pairs if pair not in self.wrong]
        if self.of_one_shape and self.wrong:
            self.yours = np.concatenate([pair.yours[pair.off] for pair in self.wrong])
            self.expected = np.concatenate([pair.expected[pair.off] for pair in self.wrong])

    def enough(self, least: int) -> bool:
        """Return whether the wrong numbers are so many and so different that a relation is no accident."""
        sides = np.stack([self.yours, self.expected])
        least = least if self.wrong[0].tolerance[0] < 1e-3 else 8  # in float16 much is close to something
        several = sides.shape[1] >= least or (least == 3 and len(self.wrong) > 1 and (sides % 1 != 0).any())
        return several and bool((sides != sides[:, :1]).any())

    def claimed(self, claims) -> str | None:
        """Return the first sentence whose two arrays agree in every case; where shapes differ, in every wrong one."""
        held = None
        for pair in self.pairs if self.of_one_shape else self.wrong:
            rows = (row for row in claims(pair.yours, pair.expected, pair) if held is None or row[0] in held)
            held = list(dict.fromkeys(sentence for sentence, one, other in rows if pair.same(one, other)))
            if not held:
                return None
        return held[0]


_SIZES = ((), ("length",), ("number of rows", "number of columns", "number of elements"))
_STATS = {"sum": np.sum, "mean": np.mean, "maximum": np.max, "norm": lambda a, **k: np.sqrt((a * a).sum(**k))}


def _array(value: object, lengths: bool = False) -> np.ndarray | None:
    """Return a tensor, a number or a list of such as an array; with `lengths`, of other lists only their length."""
    if isinstance(value, torch.Tensor):
        unusable = value.is_complex() or value.device.type == "meta"
        return None if unusable else value.detach().to_dense().double().cpu().numpy()
    values = value if isinstance(value, tuple | list) else [value]
    if values and all(isinstance(one, numbers.Real) for one in values):
        return np.asarray(value, dtype=float)
    arrays = [_array(one) for one in values] if values is value else []
    alike = arrays and all(one is not None and one.shape == arrays[0].shape for one in arrays)
    return np.stack(arrays) if alike else np.full(len(arrays), np.nan) if lengths and arrays else None


def _leaves(yours: object, expected: object, names: tuple = ()):
    """Yield the entries of a result: name, yours and expected. Numbers side by side are one entry."""
    array, entries, sequence = _array(expected), [], isinstance(expected, tuple | list)
    if isinstance(expected, dict) and isinstance(yours, dict):
        entries = [(str(key), yours[key], value) for key, value in expected.items() if key in yours]
    elif sequence and (array is None or names or (isinstance(expected, tuple) and array.ndim > 1)):
        labels = names or [f"value {number + 1} of {len(expected)}" for number in range(len(expected))]
        fits = isinstance(yours, tuple | list) and len(yours) == len(expected)
        entries = zip(labels, yours, expected, strict=True) if fits else []
    elif sequence or not isinstance(yours, tuple | list):
        yield "", yours, expected
    for label, one, other in entries:
        for inner, mine, right in _leaves(one, other):
            yield ": ".join(filter(None, (label, inner))), mine, right


def _by_entry(yours: list, expected: list, inputs: list[dict], names: tuple) -> dict[str, list[_Pair]]:
    """Return the pairs of each entry that all cases have which expect numbers, both sides being numbers."""
    cases: list[dict[str, _Pair]] = []
    for mine, right, case in zip(yours, expected, inputs, strict=True):
        facts = [f"where `{name}` is {a}" for name, a in case.items() if isinstance(a, str | bool | None)]
        arrays = {f"`{name}`": _array(a, lengths=True) for name, a in case.items() if type(a) is not bool}
        arrays = {name: a for name, a in arrays.items() if a is not None and a.size}
        cases.append({})
        for label, one, other in _leaves(mine, right, names):
            sides = (_array(one), _array(other))
            if all(side is not None and side.size for side in sides):
                types = (getattr(side, "dtype", None) for side in (one, other))
                tolerance = max(TOLERANCE.get(dtype, TOLERANCE[torch.float32]) for dtype in types)
                cases[-1][label] = _Pair(*sides, tolerance, arrays, facts)
    numeric = [any(_array(one) is not None for _, one, _ in _leaves(a, a, names)) for a in expected]
    cases = [pairs for pairs, counts in zip(cases, numeric, strict=True) if counts] or [{}]
    of_all = [label for label in cases[0] if all(label in pairs for pairs in cases)]
    return {label: [pairs[label] for pairs in cases] for label in of_all}


def _told(entries: dict[str, list[_Pair]]) -> str | None:
    """Return what is said of a result with these entries: of the first for which there is something to say."""
    wrong = {label: cases for label, pairs in entries.items() if (cases := _Cases(pairs)).wrong}
    for one, other in itertools.combinations(wrong, 2):
        both = list(zip(entries[one], entries[other], strict=False))
        told_apart = not all(np.isin(a.expected, (0, 1)).all() for a, _ in both)
        if told_apart and all(a.same(a.yours, b.expected) and b.same(b.yours, a.expected) for a, b in both):
            return f"{one} and {other} are swapped."
    told = {label: sentence for label, cases in wrong.items() if (sentence := _named(cases))}
    label, sentence = next(iter(told.items()), ("", None))
    alike = " and ".join(other for other in told if told[other] == sentence)
    rest = " The rest is right." if len(wrong) == 1 < len(entries) else ""
    return f"{alike if len(alike) < 50 else label}: {sentence}{rest}" if label else sentence


def _named(cases: _Cases) -> str | None:
    for of_one_shape, least, find in _RELATIONS:
        fits = of_one_shape == cases.of_one_shape and (not least or cases.enough(least))
        if fits and (found := cases.claimed(find) if inspect.isgeneratorfunction(find) else find(cases)):
            return found
    return None


def _ordered(mine, right, pair):
    if mine.squeeze().shape == right.squeeze().shape and mine.ndim != right.ndim:
        axis = "missing" if mine.ndim < right.ndim else "too many"
        yield f"The numbers are right, but an axis of size 1 is {axis}.", mine.ravel(), right.ravel()
    yield "The right numbers in the right order, but in another shape.", mine.ravel(), right.ravel()
    for axis in range(right.ndim):
        along = f" along axis {axis}" if right.ndim > 1 else ""
        yield f"The right numbers, but in reverse order{along}.", mine, np.flip(right, axis)
        if mine.shape == right.shape and right.shape[axis] > 2:
            one, other = np.moveaxis(mine, axis, 0), np.moveaxis(right, axis, 0)
            yield f"The numbers are right, but one place late{along}: is an index off?", one[1:], other[:-1]
            yield f"The numbers are right, but one place early{along}: is an index off?", one[:-1], other[1:]
    for order in list(itertools.permutations(range(right.ndim)))[1:25]:
        yield "The numbers are right, but your result is transposed.", mine, right.transpose(order)
    if len(np.unique(right)) > max(2, right.size / 2):
        yield "The right numbers, but in another order.", np.sort(mine, None), np.sort(right, None)


def _reduced(mine, right, pair):
    if 1 < right.size == max(right.shape) and mine.shape == (right.size, right.size):
        met = "The expected numbers are the diagonal of your result: did (N, 1) and (N,) broadcast to (N, N)?"
        yield met, mine.diagonal(), right.ravel()
    for (stat, function), axis in itertools.product(_STATS.items(), (None, 0, 1, 2, 3)):
        over = "" if axis is None else f" over axis {axis}"
        if (axis or 0) < mine.ndim > right.ndim:
            yield f"The {stat} of your result{over} is expected.", function(mine, axis=axis), right.squeeze()
        if (axis or 0) < right.ndim > mine.ndim:
            yield f"Your result is the {stat} of the expected one{over}.", mine, function(right, axis=axis)
    for name, a in pair.inputs.items():
        came = "One number for each {} of {} came out, one for each {} is expected."
        yield came.format("row", name, "column"), a.shape if a.ndim == 2 else 0, mine.shape + right.shape
        yield came.format("column", name, "row"), a.shape if a.ndim == 2 else 0, right.shape + mine.shape


def _cut_off(mine, right, pair):
    short, long = sorted((mine, right), key=np.size)
    more = np.subtract(long.shape, short.shape) if mine.ndim == right.ndim else np.array([-1])
    if (more >= 0).all():
        lost = "missing" if short is mine else "too many"
        for place, begin in (("last", 0 * more), ("first", more), ("outer", more // 2)):
            part = long[tuple(slice(i, i + n) for i, n in zip(begin, short.shape, strict=True))]
            yield f"The {place} entry is {lost}; all others are right.", short, part if more.sum() == 1 else 0
            yield f"The {place} entries are {lost}; all others are right.", short, part
        yield f"One entry is {lost}.", more.sum(), 1


_FUNCTIONS = (  # what to ask where yours is this of the expected result, and where the expected one is this of yours
    ("1 divided by {}", lambda a: 1 / a, " Is a fraction upside down?", ""),
    ("the square of {}", np.square, " Is a square root missing?", " Is it a root too many?"),
    ("e to the power of {}", np.exp, " Is a logarithm missing?", " Is `exp` missing?"),
    ("2 to the power of {}", np.exp2, " Is a logarithm missing?", " Is it a logarithm to base 2?"),
    ("10 to the power of {}", lambda a: 10**a, " Is a logarithm missing?", " Is it a logarithm to base 10?"),
    ("1 minus {}", lambda a: 1 - a, " Is it the opposite, True for False?", ""),
    ("the cosine of {}", np.cos, "", " Is it an angle?"), ("{} divided by its sum", lambda a: a / a.sum(), "", ""),
    ("the sigmoid of {}", lambda a: 1 / (1 + np.exp(-a)), "", " Are these logits?"),
    ("the softmax of {}", lambda a: np.exp(a) / np.exp(a).sum(-1, keepdims=True), "", " Are these logits?"),
    ("{} with each row divided by its sum", lambda a: a / a.sum(-1, keepdims=True), "", ""),
)  # fmt: skip
_COARSE = (  # functions that give many numbers the same value
    ("the absolute value of {}", np.abs, " Is the sign lost?", ""), ("{} rounded", np.round, "", ""),
    ("{} clipped to [0, 1]", lambda a: np.clip(a, 0, 1), "", ""),
    ("{} with 0 instead of negative numbers", lambda a: np.maximum(a, 0), "", ""),
    ("{} rounded down", np.floor, " Is `//` or `int` used where fractions count?", " Is `//` needed?"),
)  # fmt: skip


def _functions(mine, right, pair, table=_FUNCTIONS):
    for name, function, over, short in table:
        yield f"Your result is {name.format('the expected one')}.{over}", mine, function(right)
        yield f"The expected result is {name.format('yours')}.{short}", function(mine), right


_TIMES = {  # what a factor means
    -1: "the expected one with the opposite sign.",
    2: "twice the expected one: is a ½ missing, or a factor 2 counted twice?",
    1 / 2: "half the expected one: is a factor 2 missing, or a ½ counted twice?",
    100: "100 times the expected one: is it a percentage, with a fraction expected?",
    np.log(2): "ln 2 times the expected one: is it a natural logarithm, with base 2 expected?",
    1 / np.log(2): "the expected one divided by ln 2: is it a logarithm to base 2, not a natural one?",
    1 / np.log(10): "the expected one divided by ln 10: is it a logarithm to base 10, not a natural one?",
    np.pi / 180: "π/180 times the expected one: are these radians, with degrees expected?",
    180 / np.pi: "180/π times the expected one: are these degrees, with radians expected?",
}


def _constant(cases):
    finite = np.isfinite(cases.yours)
    factor = (cases.yours / cases.expected)[np.argmax(np.where(finite, np.abs(cases.expected), -1))] or np.nan
    term = (cases.yours - cases.expected)[np.argmin(np.where(finite, np.abs(cases.expected), np.inf))]
    known = (text for value, text in _TIMES.items() if np.isclose(factor, value, rtol=2e-5))
    times = next(known, f"{factor:.5g} times the expected one.")
    plus = f"{abs(term):.5g} too {'large' if term > 0 else 'small'} everywhere"

    def claims(mine, right, pair):
        yield f"Your result is {times}", mine, factor * right
        yield f"Your result is {plus}{': off by one?' if abs(term) == 1 else '.'}", mine, right + term

    return cases.claimed(claims)


_MADE = {  # of a size or an input, {}
    "{}": lambda q: q, "n/(n − 1), n being {}": lambda q: q / (q - 1),
    "√(n/(n − 1)), n being {}": lambda q: np.sqrt(q / (q - 1)), "({} minus 1)": lambda q: q - 1,
    "twice {}": lambda q: 2 * q, "the square root of {}": np.sqrt, "the square of {}": np.square,
    "(1 minus {})": lambda q: 1 - q, "the logarithm of {}": np.log,
}  # fmt: skip
_OPERATIONS = {  # with what to ask about a size and about another input
    "times": (np.multiply, " Is it a sum, not a mean?", " Is it a factor too many, or a division missing?"),
    "divided by": (np.divide, " Is it a mean, not a sum?", " Is a factor missing, or a division too many?"),
    "plus": (np.add, "", " Is it added instead of subtracted, or once too often?"),
    "minus": (np.subtract, "", " Is it subtracted instead of added, or missing?"),
}


def _by_inputs(cases):
    """Yours is an input or its sum, norm, ..., or the expected result times, plus, ... such a part or a size."""
    wrong = [pair.parts for pair in cases.wrong]
    values = {name: [np.ravel(parts[name][1]) for parts in wrong if name in parts] for name in wrong[0]}
    values = {name: np.concatenate(q) for name, q in values.items() if len(q) == len(wrong)}
    varying = {name for name, q in values.items() if np.ptp(q) > 1e-4 * np.abs(q).max()}
    made = {"size": list(_MADE)[:7], "input": ["{}", *list(_MADE)[4:]], "stat": ["{}"]}

    def claims(mine, right, pair):
        yield f"Your result is {mine.flat[0] + 0:.6g} everywhere.", mine, np.full(mine.shape, mine.flat[0])
        at = np.argmax(np.where((pair.off | ~pair.off.any()) & np.isfinite(right), np.abs(right), -1))
        for name, (kind, q) in pair.parts.items():
            if name in varying:
                yield f"Your result is {name}.", mine, q
                yield f"Your step from {name} has the opposite sign.", mine, 2 * q - right
                one = np.broadcast_to(q, mine.shape).flat[at]
                for how, (word, (does, *asks)) in itertools.product(made[kind], _OPERATIONS.items()):
                    guess = does(right.flat[at], _MADE[how](one))
                    empty = how == "(1 minus {})" and word in ("plus", "minus")  # "x + 1" for 2 x is no help
                    if abs(guess - mine.flat[at]) <= 0.03 * abs(guess) and not empty:
                        ask = asks[kind != "size"] if how in ("{}", "twice {}") else ""
                        sentence = f"Your result is the expected one {word} {how.format(name)}.{ask}"
                        yield sentence, mine, does(right, _MADE[how](q))

    return cases.claimed(claims)


_WORDS = {  # beyond ±88 exp overflows in float32, beyond ±16 a sigmoid is 1
    "beyond ±88": lambda a: (np.abs(a) > 88) & np.isfinite(a),
    "beyond ±16": lambda a: (np.abs(a) > 16) & np.isfinite(a),
    "infinite": np.isinf, "0": lambda a: a == 0, "negative": lambda a: a < 0,
    "the largest": lambda a: a == a.max(axis=-1, keepdims=True) if a.ndim else np.False_,
}  # fmt: skip


def _places(pair):
    """Yield parts of the result in words, with a mask; "where" tells them by the numbers there."""
    shape = pair.expected.shape
    for (word, test), (name, a) in itertools.product(_WORDS.items(), pair.inputs.items()):
        hit, of_rows = test(a), {"axis": 1, "keepdims": len(shape) == 2}
        probable = a.sum() == 1 or (a.min() == 0 and (a % 1).any())  # probabilities: a 0 matters
        if a.shape in (shape, shape[:1]) and (a.ndim == 0 or word != "0" or not hit.all()):
            yield f"where {name} is {word}", hit.reshape(a.shape + (1,) * (len(shape) - a.ndim))
        elif a.ndim == 2 and shape[:1] == a.shape[:1] and len(shape) < 3 and word in list(_WORDS)[:4]:
            yield f"where a row of {name} is {word} throughout", hit.all(**of_rows)
            yield f"where a row of {name} holds a number that is {word}", hit.any(**of_rows)
        elif shape == () and word in list(_WORDS)[: 4 if probable else 3]:
            yield f"where {name} holds a number that is {word}", hit.any()
    yield from ((fact, np.True_) for fact in pair.facts)
    index, lines = np.indices(shape, sparse=True)[-2:], ("row", "column") if len(shape) > 1 else ("entry",)
    for i, n, line in zip(index, shape[-2:], lines, strict=False):
        yield from ((f"in the first {line}", i == 0), (f"in the last {line}", i == n - 1))
        yield from ((f"after the first {line}", i > 0), (f"before the last {line}", i < n - 1))
        yield from ((f"in {line} {k} (counted from 0)", i == k) for k in range(1, min(n - 1, 20)))
    if len(shape) > 1:
        (i, j), (n, m) = index, shape[-2:]
        yield from (("on the diagonal", i == j), ("off the diagonal", i != j))
        yield from (("above the diagonal", i < j), ("below the diagonal", i > j))
        yield "at the border", (i == 0) | (j == 0) | (i == n - 1) | (j == m - 1)
    for word in list(_WORDS)[2:]:
        yield f"where the expected number is {word}", _WORDS[word](pair.expected)


def _where(cases, bad, but="?"):
    """Return the smallest part of the results that holds all that is bad, in words, if it leaves enough besides 0."""
    best, least = "", 2 * sum(mask.sum() for mask in bad) + 1
    need = 8 if all(np.isin(pair.expected, (0, 1)).all() for pair in cases.pairs) else 3
    both = [(mask, dict(_places(pair))) for mask, pair in zip(bad, cases.pairs, strict=True)]
    for name in dict.fromkeys(itertools.chain(*(places for _, places in both))):
        if but in name or any((mask > places.get(name, False)).any() for mask, places in both):
            continue
        hits = [places.get(name, False) | (mask & False) for mask, places in both]
        left = [((pair.expected != 0) & ~hit).sum() for pair, hit in zip(cases.pairs, hits, strict=True)]
        count = sum(hit.sum() for hit in hits)
        if count < least and sum(left if "where" in name else left[: len(cases.wrong)]) >= need:
            best, least = name, count
    return best


def _only_where(cases):
    there = f" There {cases.yours[0]:.6g} came out." if np.ptp(cases.yours) == 0 else ""
    there = " There the sign is opposite." if cases.pairs[0].same(cases.yours, -cases.expected) else there
    place = _where(cases, [pair.off for pair in cases.pairs], "a number that is 0")
    return place and f"Wrong only {place}.{there}"


def _not_finite(cases):
    bad = [~np.isfinite(pair.yours) & np.isfinite(pair.expected) for pair in cases.pairs]
    if not all(mask.any() for mask in bad[: len(cases.wrong)]):  # then something else is wrong, too
        return None
    values = np.concatenate([pair.yours[mask] for pair, mask in zip(cases.pairs, bad, strict=True)])
    kind = "nan" if np.isnan(values).all() else "inf" if np.isinf(values).all() else "nan and inf"
    place = _where(cases, bad) if len(values) else ""
    cause = " Does an exponential overflow, or underflow to 0?" if "±" in place else ""
    cause = " Is it 0 / 0, a logarithm of 0, or a root of less than 0?" if " is 0" in place else cause
    place = place or f"for {len(values)} of {sum(mask.size for mask in bad)} numbers"
    only = "only " if len(cases.yours) == len(values) < sum(mask.size for mask in bad) else ""
    return f"{kind} came out {only}{place}.{cause}" if len(values) else None


def _precise(cases):
    error = np.abs(cases.yours - cases.expected) / np.abs(cases.expected)
    if not (error < 5e-3).all() or not (cases.yours % 1).any():
        return None
    one, other = digits(cases.yours[error.argmax()], cases.expected[error.argmax()])
    return f"Right to {-np.log10(error.max()):.0f} digits only, {one} instead of {other}: rounded, or a small term off?"


_RELATIONS = (  # of one shape; how many numbers have to be wrong for the relation to be no accident; the relation
    (True, 0, _not_finite), (True, 3, _constant), (True, 3, _by_inputs), (True, 3, _ordered), (True, 3, _functions),
    (True, 8, partial(_functions, table=_COARSE)), (True, 0, _precise), (True, 0, _only_where), (False, 0, _ordered),
    (False, 0, _cut_off), (False, 0, _reduced),
)  # fmt: skip
