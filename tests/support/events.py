"""Reading event streams the way a browser does, and a WSGI server for one call."""

import json
from dataclasses import dataclass


@dataclass
class Event:
    name: str
    data: object

    @property
    def is_last(self):
        return self.name in {"done", "error"}


def parse_events(lines):
    """Yield the events of an iterable of lines (text, without their ends)."""
    name, data = "message", []
    for line in lines:
        if line == "" and data:
            text = "\n".join(data)
            yield Event(name, text if text == "[DONE]" else json.loads(text))
        if line == "":
            name, data = "message", []
        field, _, value = line.partition(":")
        if field == "event":
            name = value.removeprefix(" ")
        elif field == "data":
            data.append(value.removeprefix(" "))


def events_of(response):
    """All events of a finished test response."""
    return list(parse_events(response.get_data(as_text=True).split("\n")))


def text_of(events):
    return "".join(e.data["text"] for e in events if e.name == "delta")


def live_events(answer):
    """Events of a `requests` answer with stream=True, each as soon as it is in."""
    lines = answer.iter_lines(chunk_size=1, decode_unicode=False)
    return parse_events(line.decode() for line in lines)
