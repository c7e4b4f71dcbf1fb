"""What texts may hold, as the document of the API tells it.

The doors look at all texts of a body at once (see `values`), so these types describe
and never run.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, RootModel, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

# What `str.strip` takes for blank. `\s` is not the same in any two languages.
_BLANKS = (
    r"\t\n\x0b\x0c\r\x1c-\x1f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
)

PLAIN = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f]*$"
NUL_FREE = r"^[^\x00]*$"
SAYS_SOMETHING = rf"^[^\x00]*[^\x00{_BLANKS}][^\x00]*$"

NulFreeText = Annotated[str, Field(pattern=NUL_FREE)]


class NulFreeValue(RootModel["Any | list[NulFreeValue]"]):
    """Any JSON value without NUL in its texts."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Tell no `type`: each word of the schema speaks of the values it is for.

        Makers of clients take that for "anything". A union of all types that holds
        itself they drop, and with it whatever refers to it.
        """
        shown = handler(core_schema)
        _, list_of_itself = shown.pop("anyOf")
        shown.update(
            pattern=NUL_FREE,
            items=list_of_itself["items"],
            additionalProperties=list_of_itself["items"],
            propertyNames={"pattern": NUL_FREE},
        )
        return shown


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
