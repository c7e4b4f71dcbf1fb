"""The wire models of errors, in our own shape and in OpenAI's."""

from pydantic import BaseModel, Field


class FieldError(BaseModel):
    """What is wrong with a field; its value is never repeated."""

    field: str = Field(description="Its name, or the header's; `body` for all of it.")
    reason: str


class Error(BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="For people.")
    code: str = Field(description="For programs: it does not change.")
    correlation_id: str
    errors: list[FieldError] = Field(
        default=[], description="Every field that is wrong, with `invalid_request`."
    )


class OpenAIError(BaseModel):
    """What OpenAI's clients read of an error."""

    message: str = Field(description="For people.")
    type: str = Field(description="The kind of error, as OpenAI names it.")
    param: str | None = Field(description="The first field that is wrong.")
    code: str = Field(description="For programs: it does not change.")


class OpenAIErrorBody(BaseModel):
    """Why there is no answer, in OpenAI's shape."""

    error: OpenAIError
