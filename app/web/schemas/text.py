"""What texts may hold, as the document of the API tells it.

The doors look at all texts of a body at once (see `values`), so these types describe
and never run.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, GetJsonSchemaHandler, RootModel, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

_CONTROLS = r"\x00-\x08\x0b\x0c\x0e-\x1f"
# What `str.strip` takes for blank. `\s` is not the same in any two languages.
_BLANKS = r"\t\n\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

PLAIN = rf"^[^{_CONTROLS}]*$"
SAYS_SOMETHING = rf"^[^{_CONTROLS}]*[^{_CONTROLS}{_BLANKS}][^{_CONTROLS}]*$"
NUL_FREE = r"^[^\x00]*$"

PlainText = Annotated[str, Field(pattern=PLAIN)]
NulFreeText = Annotated[str, Field(pattern=NUL_FREE)]


class _Value:
    """Describes a model of any JSON value whose texts fit a pattern, names included.

    No `type` is told: each word of the schema speaks of the values it is for. Makers of
    clients take that for "anything"; a union of all types that holds itself they drop,
    and with it whatever refers to it.
    """

    pattern: ClassVar[str]

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        shown = handler(core_schema)
        _, list_of_itself = shown.pop("anyOf")
        shown.update(
            pattern=cls.pattern,
            items=list_of_itself["items"],
            additionalProperties=list_of_itself["items"],
            propertyNames={"pattern": cls.pattern},
        )
        return shown


class PlainValue(_Value, RootModel["Any | list[PlainValue]"]):
    """Any JSON value without control characters in its texts, but tab and line end."""

    pattern: ClassVar = PLAIN


class NulFreeValue(_Value, RootModel["Any | list[NulFreeValue]"]):
    """Any JSON value without NUL in its texts."""

    pattern: ClassVar = NUL_FREE


PlainObject = Annotated[
    dict[str, PlainValue],
    Field(json_schema_extra={"propertyNames": {"pattern": PLAIN}}),
]
NulFreeObject = Annotated[
    dict[str, NulFreeValue],
    Field(json_schema_extra={"propertyNames": {"pattern": NUL_FREE}}),
]


@dataclass(frozen=True, slots=True)
class ShownAs:
    """Marks a field that is described by another type than the one that checks it."""

    kind: Any

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(TypeAdapter(self.kind).core_schema)


class NulFree:
    """Describes a model whose unknown fields are kept if they hold no NUL."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        handler.resolve_ref_schema(schema).update(
            additionalProperties=handler(TypeAdapter(NulFreeValue).core_schema),
            propertyNames={"pattern": NUL_FREE},
        )
        return schema
