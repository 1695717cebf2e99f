import json

from google.protobuf.json_format import ParseDict, ParseError

from remit.v1 import visibility_service_pb2 as messages


def read_json(text: str) -> messages.VisibleGraphRequest:
    """Reads `{"nodes": [{"uid", "kind", "namespace", "id"}], "edges": [{"source", "target", "relation"}]}`.

    Raises ValueError if the text is no such graph.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or not document.keys() <= {"nodes", "edges"}:
        raise ValueError("expected an object with `nodes` and `edges` and nothing else")
    try:
        return ParseDict(document, messages.VisibleGraphRequest())
    except ParseError as error:
        raise ValueError(str(error)) from None
