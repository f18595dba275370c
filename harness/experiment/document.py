"""An experiment as data: a YAML file, read and checked whole before anything starts (docs/experiments.md)."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from harness.experiment.definition import (
    BLOCK,
    NEVER,
    NOTHING_SAID,
    WINDOW,
    Arrivals,
    Document,
    Expectation,
    Factors,
    Filling,
    Part,
)
from harness.experiment.factors import FACTORS, checked, choice, count, named, read_side, side_of
from harness.experiment.probes import PROBES, SERIES
from harness.experiment.side import SUBMIT, TICKS, Side
from harness.record.findings import Change
from lab.bootstrap import ROOT
from lab.contract import Architecture
from lab.errors import Code, InvalidRequest
from lab.load.profiles import PROFILES
from lab.middleware import MIDDLEWARES, VARIANTS
from lab.options import interval, positive

EXPERIMENTS = ROOT / "experiments"
COMPARE, OVER, PROBE = "compare", "over", "probe"
DESIGNS = (COMPARE, OVER, "change", PROBE)
METHODS = ("rate", "ramp", "capacity")
FORMS = ("full", "short")
OWN = (
    "question",
    "study",
    "title",
    "load",
    "keep",
    "form",
    "blocks",
    "window",
    "fresh",
    "again",
    "with clients",
)
FIELDS = (*OWN, "expect", "budget", "full", *DESIGNS, *METHODS)
OF_FILE = ("parts", "by system", "left out")
CANNOT_BE = ("guarantee:", "nodes:", "batch:")
"""How refusals begin of systems that do not have what is asked: among several, such a one is left out."""
_BAR = re.compile(r"([<>]) (\d+(?:\.\d+)?)")


def read_experiment(path: Path, filling: Filling = NOTHING_SAID) -> Document:
    """Read the file at *path*; InvalidRequest in one line if something is wrong.

    Of a file of the lab, what can be wrong is the command line: the line does not name the file.
    """
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # texts only: no is "no"
    except OSError as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise InvalidRequest(Code.MALFORMED, f"{path}: is not YAML: {said}") from error
    return read_document(found, "" if path.parent == EXPERIMENTS else f"{path}: ", filling)


def read_document(source: object, where: str, filling: Filling = NOTHING_SAID) -> Document:
    """Return the experiment that *source* describes; *where* begins each error."""
    try:
        whole = dict(_mapping("the file", source))
        _known("field", whole, (*FIELDS, *OF_FILE))
        if not isinstance(whole.get("question"), str):
            raise _wrong("question", whole.get("question"), "a sentence")
        own = {name: whole.pop(name) for name in OF_FILE if name in whole}
        parts = own["parts"] = list(filling.parts) or _listed("parts", own.get("parts", [{}]))
        given = _of_studies([_over_all(whole, one, filling) for one in parts], filling.studies)
        forms = choice("both", *FORMS)
        given = [
            one for one in given if checked("form", one.get("form", "both"), forms) != FORMS[filling.is_full]
        ]
        read = list(_possible(given, filling))
        read = _named(read, filling.only) if any(part.changes for part in read) else read
        by_system = checked("by system", own.get("by system", "no"), choice("yes", "no")) == "yes"
    except InvalidRequest as error:
        raise InvalidRequest(Code.MALFORMED, f"{where}{error.message}") from error
    left_out = "" if filling.is_full else str(own.get("left out", ""))
    return Document(whole["question"], tuple(read), {**whole, **own}, by_system, left_out)


def _possible(given: Sequence[dict[str, Any]], filling: Filling) -> Iterator[Part]:
    """Yield the parts; those that cannot be as the command line has it are left out, if others can."""
    refused, found = None, 0
    for one in given:
        try:
            parts = _checked(list(_parts(one, filling)), filling)
        except InvalidRequest as error:
            if not filling.load or not error.message.startswith(CANNOT_BE):
                raise
            refused = error
        else:
            found += len(parts)
            yield from parts
    if refused and not found:
        raise refused


def _of_studies(given: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the parts whose study is one of *names*; no names: all."""
    known = dict.fromkeys(str(part.get("study")) for part in given)
    for name in names:
        if name not in known:
            raise InvalidRequest(Code.MALFORMED, f"no study {name!r}; there are {', '.join(known)}")
    return [part for part in given if not names or part.get("study") in names]


def _over_all(whole: Mapping[str, Any], part: object, filling: Filling) -> dict[str, Any]:
    """Return one part with what it has from the whole file, and from its own full form."""
    own = dict(_mapping("parts", part))
    _known("field", own, FIELDS)
    layers = [whole, _mapping("full", whole.get("full", {})) if filling.is_full else {}, own]
    layers += [_mapping("full", own.get("full", {}))] if filling.is_full else []
    loads = [_mapping("load", layer["load"]) for layer in layers if "load" in layer]
    merged: dict[str, Any] = {name: value for layer in layers for name, value in layer.items()}
    merged["load"] = {named(str(name)): value for load in loads for name, value in load.items()}
    merged.pop("full", None)
    if filling.objective and "capacity" in merged:
        merged["capacity"] = {"objective": filling.objective}
    return merged | dict(filling.fields)


def _parts(given: Mapping[str, Any], filling: Filling) -> Iterator[Part]:
    designs = [name for name in DESIGNS if name in given]
    methods = [name for name in METHODS if name in given]
    if len(designs) > 1 or len(methods) > 1:
        raise _wrong("design", " and ".join(designs + methods), "one design and one method")
    design = designs[0] if designs else OVER
    part = _plain(given, design)
    if design == PROBE:
        name = checked(PROBE, given[PROBE], choice(*PROBES, *SERIES))
        yield replace(part, probe=name, title=part.title or name, names=tuple(_variants("all", filling.only)))
    elif design == "change":
        yield from _changes(part, given, filling)
    elif design == COMPARE:
        sides = tuple(_compared(given["load"], one, filling) for one in _listed(COMPARE, given[COMPARE]))
        if len(sides) < 2:
            raise _wrong(COMPARE, given[COMPARE], "a list of two sides or more")
        yield replace(part, sides=sides, title=part.title or " and ".join(one.label for one in sides))
    else:
        part = replace(part, sides=tuple(dict.fromkeys(_product(given, filling))))
        for side in part.sides if part.objective_seconds else ():
            if side.batch or side.operation in (SUBMIT, TICKS):
                raise _wrong("capacity", side.label, "single requests, each with an answer")
        yield from _apart(part)


def _checked(parts: list[Part], filling: Filling) -> list[Part]:
    """Return *parts*, of one design; InvalidRequest if nothing of theirs is what one expects.

    A command line may leave sides out that the file expects something of: that is no error.
    """
    for expectation in parts[0].expect if parts else ():
        if parts[0].probe or parts[0].objective_seconds:
            raise _wrong("expect", "of a probe or a capacity", "sides whose rates are compared")
        if not (filling.load or filling.only):
            expectation.check([part.sides for part in parts])
    return parts


def _plain(given: Mapping[str, Any], design: str) -> Part:
    """Read what is alike in all designs."""
    is_comparison = design in (COMPARE, "change")
    arrivals = _arrivals(given["rate"]) if "rate" in given else None
    ramp = _mapping("ramp", given.get("ramp", {}))
    _known("field of ramp", ramp, ("requests",))
    objective = _mapping("capacity", given.get("capacity", {}))
    _known("field of capacity", objective, ("objective",))
    blocks = checked("blocks", given.get("blocks", 3), count)
    if design == COMPARE and blocks == 1:
        raise _wrong("blocks", blocks, "2 or more: one pair has no interval")
    seconds = checked("objective", objective.get("objective", "50ms"), interval)
    usual = BLOCK if design == COMPARE else NEVER
    return Part(
        study=str(given.get("study", "planned" if arrivals else design)),
        title=str(given.get("title", "")),
        has_again=is_comparison and checked("again", given.get("again", "yes"), choice("yes", "no")) == "yes",
        is_with_clients=checked("with clients", given.get("with clients", "no"), choice("yes", "no"))
        == "yes",
        blocks=blocks,
        window_seconds=checked("window", given.get("window", "2s"), interval),
        fresh=checked("fresh", given.get("fresh", usual), choice(NEVER, BLOCK, WINDOW)),
        expect=tuple(_expectation(one) for one in _listed("expect", given.get("expect", []))),
        budget_seconds=checked("budget", given["budget"], interval) if "budget" in given else 0.0,
        arrivals=arrivals,
        ramp=tuple(checked("requests", one, count) for one in _listed("ramp", ramp.get("requests", []))),
        objective_seconds=seconds if "capacity" in given else 0.0,
    )


def _compared(load: Mapping[str, Any], side: object, filling: Filling) -> Side:
    """Read one side of a comparison: a name, or a mapping of a name to factors."""
    if isinstance(side, str):
        own = read_side(side)
    else:
        ((name, more),) = list(_mapping(COMPARE, side).items())[:1] or [("", {})]
        own = {"middleware": name, **{named(str(k)): v for k, v in _mapping(str(name), more or {}).items()}}
    label = str(own.pop("label", "")) or _said(own)
    factors = {**load, **filling.load, **own}
    return side_of(factors, label=label, factors=(("side", label),))


def _said(factors: Mapping[str, object]) -> str:
    name, *rest = [str(factors["middleware"]), *(f"{k}={v}" for k, v in factors.items() if k != "middleware")]
    return f"{name}:{','.join(rest)}" if rest and ":" not in name else ",".join([name, *rest])


def _product(given: Mapping[str, Any], filling: Filling) -> Iterator[Side]:
    """Yield a side for each combination of the factors that are varied; those that cannot be are left out."""
    varied = {named(str(k)): _listed(str(k), v) for k, v in _mapping(OVER, given.get(OVER, {})).items()}
    if filling.is_spread:
        varied.pop("guarantee", None)
    kept = [named(str(one)) for one in _listed("keep", given.get("keep", []))]
    asked_for = {name: value for name, value in filling.load.items() if name not in kept}
    fixed = {**given["load"], **asked_for}
    for name, values in asked_for.items():
        if isinstance(values, list):
            varied[name] = values
        elif name in varied:
            del varied[name]
    fixed = {name: value for name, value in fixed.items() if name not in varied}
    for name, values in varied.items():
        for value in values if name in FACTORS and name != "middleware" else ():
            checked(name, value, FACTORS[name][1])  # only what cannot be together is left out below
    asked = varied.pop("middleware", [fixed.pop("middleware", "")])
    names = [name for one in asked for name in _variants(str(one), filling.only)]
    refused, found = None, 0
    for name in names:
        for values in itertools.product(*varied.values()):
            chosen = dict(zip(varied, map(str, values), strict=True))
            try:
                factors = {**fixed, **chosen, "middleware": name}
                if chosen.get("architecture") == Architecture.ONE_NODE and "nodes" in asked_for:
                    del factors["nodes"]  # what the command line says is of n-node systems
                    chosen.pop("nodes", None)
                yield _combined(factors, chosen, len(names) > 1)
                found += 1
            except InvalidRequest as error:
                if not error.message.startswith(CANNOT_BE):
                    raise
                refused = error
    if names and not found and refused:
        raise refused


def _combined(factors: dict[str, object], chosen: dict[str, str], has_several: bool) -> Side:
    name = str(factors["middleware"])
    told = {"middleware": name, **chosen} if has_several else chosen
    label = ", ".join([name, *(value if f == "guarantee" else f"{f} {value}" for f, value in chosen.items())])
    return side_of(factors, label=label, factors=tuple(told.items()))


def _variants(name: str, only: Sequence[str]) -> list[str]:
    """Return the variants that *name* stands for: "all", "tuned", or a name."""
    wanted = list(only) or list(VARIANTS)
    if name == "all":
        return [one for one in VARIANTS if one in wanted]
    if name == "tuned":  # or the stock one, where that is named alone
        usual = [one if one in wanted else f"{one}:stock" for one in MIDDLEWARES]
        return [one for one in usual if one in wanted]
    return [name] if not only or name in only else []


def _apart(part: Part) -> Iterator[Part]:
    """Yield the part in pieces: systems of different middlewares and architectures are not up together."""
    grouped: dict[tuple[str, str], list[Side]] = {}
    for side in part.sides:
        grouped.setdefault((side.middleware.partition(":")[0], side.architecture), []).append(side)
    for (name, architecture), sides in grouped.items():
        together = dict.fromkeys(side.described.label for side in sides)
        title = f"{part.title or part.study}: {' and '.join(together)}, {architecture}"
        yield replace(part, sides=tuple(sides), title=title if name else part.title)


def _changes(part: Part, given: Mapping[str, Any], filling: Filling) -> Iterator[Part]:
    """Yield a part for each setting: its default, the first that is listed, and its other values."""
    for middleware, settings in _mapping("change", given["change"]).items():
        for name, values in _mapping(str(middleware), settings).items():
            listed = values if isinstance(values, Mapping) else dict.fromkeys(_listed(str(name), values), "")
            default, *others = listed
            base = {**given["load"], "middleware": middleware, **filling.load}
            sides = [
                side_of({**base, name: value}, label=value, factors=((str(name), value),)) for value in listed
            ]
            changes = [Change(middleware, name, value, default, listed[value]) for value in others]
            title = f"{MIDDLEWARES[sides[0].middleware].label}: {name} {', '.join(others)} against {default}"
            yield replace(part, title=title, sides=tuple(sides), changes=tuple(changes))


def _named(parts: Sequence[Part], only: Sequence[str]) -> list[Part]:
    """Return *parts* with the changes that *only* names; InvalidRequest if a name is of none."""
    known = dict.fromkeys(name for part in parts for change in part.changes for name in change.names)
    for name in only:
        if name not in known:
            start = re.split("[^:=]*$", name)[0]
            alike = [one for one in known if re.fullmatch(f"{re.escape(start)}[^:=]+", one)]
            raise _wrong("--only", name, ", ".join(alike or sorted({one.split(":")[0] for one in known})))
    found = []
    for part in parts:
        kept = [one for one in part.changes if not only or not set(only).isdisjoint(one.names)]
        values = [one.value for one in kept]
        if kept:
            sides = (part.sides[0], *(side for side in part.sides[1:] if side.label in values))
            found.append(replace(part, sides=sides, changes=tuple(kept)))
    return found


def _arrivals(given: object) -> Arrivals:
    fields = dict(given) if isinstance(given, Mapping) else {"per second": given}
    _known("field of rate", fields, ("per second", "for", "profile", "arrivals"))
    is_random = (
        checked("arrivals", fields.get("arrivals", "poisson"), choice("poisson", "constant")) == "poisson"
    )
    if "profile" in fields:
        return Arrivals(profile=checked("profile", fields["profile"], choice(*PROFILES)), is_random=is_random)
    rate = checked("per second", fields.get("per second", ""), positive("a rate", most=1e6))
    seconds = checked("for", fields["for"], interval) if "for" in fields else 0.0
    return Arrivals(rate, seconds, is_random=is_random)


def _expectation(given: object) -> Expectation:
    fields = _mapping("expect", given)
    _known("field of expect", fields, ("ratio", "of", "to"))
    match = _BAR.fullmatch(str(fields.get("ratio", "")))
    if not match or not float(match[2]):
        raise _wrong("ratio", fields.get("ratio"), 'such as "> 1.1" or "< 0.5"')
    over, under = (_factors(name, fields.get(name, {})) for name in ("of", "to"))
    return Expectation(float(match[2]), match[1] == ">", over, under)


def _factors(name: str, given: object) -> Factors:
    return tuple((named(str(factor)), str(value)) for factor, value in _mapping(name, given).items())


def _mapping(name: str, found: object) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise _wrong(name, found, "a mapping, such as {clients: 4}")
    return found


def _listed(name: str, found: object) -> list[Any]:
    """Return a list; what stands alone is a list of one."""
    items = list(found) if isinstance(found, list) else [found]
    if name not in ("expect", "ramp", "parts", "keep") and not items:
        raise _wrong(name, found, "a list with something in it")
    return items


def _known(what: str, given: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            raise InvalidRequest(Code.MALFORMED, f"{name}: no such {what}; possible is {', '.join(names)}")


def _wrong(name: str, value: object, possible: str) -> InvalidRequest:
    return InvalidRequest(Code.MALFORMED, f"{name}: {value!r}; possible is {possible}")
