"""AWS's own models, as botocore ships them: what requests and answers of every operation look like."""

import functools
import re

import botocore.loaders
import botocore.model

SERVICES = ["timestream-write", "timestream-query"]


@functools.cache
def service(name):
    description = botocore.loaders.Loader().load_service_model(name, "service-2")
    return botocore.model.ServiceModel(description, name)


def text(shape, length, pattern=None):
    """A text of this length that matches the shape's pattern; nothing where none does."""
    pattern = shape.metadata.get("pattern", pattern)
    for character in "aA0":
        if pattern is None or re.fullmatch(pattern, character * length):
            return character * length
    return None


def valid(shape, name=""):
    """The least that a shape takes."""
    if shape.type_name == "structure":
        return {name: valid(member, name) for name, member in shape.members.items() if name in shape.required_members}
    if shape.type_name == "list":
        return [valid(shape.member)] * shape.metadata.get("min", 0)
    if shape.type_name == "string":
        if shape.enum:
            return shape.enum[0]
        if name.upper().endswith("ARN"):
            return "arn:aws:timestream:us-east-1:000000000000:scheduled-query/none-0123456789abcdef"
        least = max(shape.metadata.get("min", 1), 1)
        return text(shape, least) or text(shape, least + 1)
    return {"boolean": True, "integer": 4, "long": 4, "timestamp": 1_700_000_000, "double": 1.0}[shape.type_name]


def lower_camel(name):
    return name[:1].lower() + name[1:]


def places(shape, path="", parents=()):
    """Every member below a structure: its path as answers name it, its shape, whether it is required, and a
    function that puts a value there into a request."""
    for name, member in shape.members.items():
        if member.name in parents:
            continue
        place = f"{path}.{lower_camel(name)}".lstrip(".")
        put = functools.partial(put_member, name)
        yield place, name, member, name in shape.required_members, put
        inner, step, wrap = member, place, lambda value: value
        while inner.type_name == "list":
            step, inner, wrap = f"{step}.1.member", inner.member, (lambda value, wrap=wrap: wrap([value]))
            if inner.type_name != "structure":
                yield step, name, inner, False, lambda owner, value, put=put, wrap=wrap: put(owner, wrap(value))
        if inner.type_name == "structure":
            for place, name_below, below, required, put_below in places(inner, step, (*parents, member.name)):
                def into(owner, value, inner=inner, put=put, put_below=put_below, wrap=wrap):
                    put(owner, wrap(put_below(valid(inner), value)))
                    return owner
                yield place, name_below, below, required, into


def put_member(name, owner, value):
    if value is ABSENT:
        owner.pop(name, None)
    else:
        owner[name] = value
    return owner


ABSENT = object()


def violations(shape, name):
    """Values a shape refuses, with the constraint that answers tell."""
    least, most, pattern = (shape.metadata.get(key) for key in ["min", "max", "pattern"])
    kind = shape.type_name
    if kind in ("integer", "long"):
        if least is not None:
            yield least - 1, f"Member must have value greater than or equal to {least}"
        if most is not None:
            yield most + 1, f"Member must have value less than or equal to {most}"
    elif kind == "list":
        if least:
            yield [valid(shape.member)] * (least - 1), f"Member must have length greater than or equal to {least}"
        if most is not None:
            yield [valid(shape.member)] * (most + 1), f"Member must have length less than or equal to {most}"
    elif kind == "string":
        if shape.enum:
            yield "NONE OF THEM", "Member must satisfy enum value set: [" + ", ".join(shape.enum) + "]"
        if least:
            yield "a" * (least - 1), f"Member must have length greater than or equal to {least}"
        if most is not None:
            start = valid(shape, name) if name.upper().endswith("ARN") else ""
            yield start.ljust(most + 1, "a"), f"Member must have length less than or equal to {most}"
        if pattern is not None:
            yield "ä b", f"Member must satisfy regular expression pattern: {pattern}"


def limits(shape, name):
    """The least and the most that a shape takes."""
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    for bound in [least, most]:
        if bound is None:
            continue
        if shape.type_name in ("integer", "long"):
            yield bound
        elif shape.type_name == "list":
            yield [valid(shape.member)] * bound
        elif shape.type_name == "string" and name.upper().endswith("ARN"):
            yield valid(shape, name).ljust(bound, "a")
        elif shape.type_name == "string" and text(shape, bound) is not None:
            yield text(shape, bound)
    yield from shape.enum if shape.type_name == "string" else []


WRONG_TYPES = {
    "structure": [[], "x", 1], "list": [{}, "x", 1], "string": [{}, [], 1, True], "boolean": [{}, "true", 1],
    "integer": [{}, "1", True, 1.5], "long": [{}, "1", True, 1.5], "timestamp": [{}, [], True],
}


def mistakes(shape, answer, place="the answer"):
    """How an answer differs from its shape."""
    kinds = {"structure": dict, "list": list, "string": str, "boolean": bool, "integer": int, "long": int,
             "timestamp": (int, float), "double": (int, float)}
    fits = isinstance(answer, kinds[shape.type_name]) and (isinstance(answer, bool) == (shape.type_name == "boolean"))
    if not fits:
        yield f"{place} is {answer!r}, not a {shape.type_name}"
    elif shape.type_name == "structure":
        for name in shape.required_members:
            if name not in answer:
                yield f"{place} lacks {name}"
        for name, value in answer.items():
            if name not in shape.members:
                yield f"{place} has {name}, which AWS does not know"
            else:
                yield from mistakes(shape.members[name], value, f"{place}.{name}")
    elif shape.type_name == "list":
        for number, value in enumerate(answer, 1):
            yield from mistakes(shape.member, value, f"{place}.{number}")
    elif shape.type_name == "string":
        least, most = shape.metadata.get("min", 0), shape.metadata.get("max", len(answer))
        pattern = shape.metadata.get("pattern")
        if not least <= len(answer) <= most or (shape.enum and answer not in shape.enum):
            yield f"{place} is {answer!r}"
        if pattern is not None and not re.fullmatch(pattern, answer):
            yield f"{place} is {answer!r}, which does not match {pattern}"
