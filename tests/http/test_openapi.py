"""GET /openapi.json against the real answers."""
import json
import re
import urllib.parse

import pytest
from conftest import MODEL, ROOT, Answer

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
         "boolean": bool, "null": type(None)}


def is_type(value, name):
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, TYPES[name])


def check(value, schema, whole, at="$"):
    """The parts of JSON Schema that the description uses; anything else in it is an error."""
    schema = dict(schema)
    if "$ref" in schema:
        for key in schema["$ref"].removeprefix("#/").split("/"):
            found = whole[key] if key == "components" else found[key]
        return check(value, found, whole, at)
    schema.pop("description", None)
    schema.pop("default", None)
    kinds = schema.pop("type", None)
    if kinds is not None:
        kinds = [kinds] if isinstance(kinds, str) else kinds
        assert any(is_type(value, kind) for kind in kinds), f"{at} is no {kinds}: {value!r}"
    if "anyOf" in schema:
        problems = []
        for option in schema.pop("anyOf"):
            try:
                check(value, option, whole, at)
                break
            except AssertionError as problem:
                problems.append(problem)
        else:
            raise AssertionError(f"{at} fits nothing: {problems}")
    if "const" in schema:
        assert value == schema.pop("const"), at
    if "enum" in schema:
        assert value in schema.pop("enum"), at
    lowest, highest = schema.pop("minimum", None), schema.pop("maximum", None)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        assert lowest is None or value >= lowest, at
        assert highest is None or value <= highest, at
    items, shortest = schema.pop("items", None), schema.pop("minItems", 0)
    longest, contained = schema.pop("maxItems", None), schema.pop("contains", None)
    if isinstance(value, list):
        assert shortest <= len(value) and (longest is None or len(value) <= longest), at
        for index, item in enumerate(value):
            check(item, items or {}, whole, f"{at}[{index}]")
        assert contained is None or any(fits(item, contained, whole) for item in value), at
    fewest, most = schema.pop("minLength", 0), schema.pop("maxLength", None)
    if isinstance(value, str):
        assert fewest <= len(value) and (most is None or len(value) <= most), at
    properties = schema.pop("properties", {})
    names, most = schema.pop("propertyNames", {}), schema.pop("maxProperties", None)
    required, others = schema.pop("required", []), schema.pop("additionalProperties", True)
    if isinstance(value, dict):
        assert set(required) <= set(value), at
        assert most is None or len(value) <= most, at
        assert all(re.search(names.get("pattern", ""), name) for name in value), at
        assert others or set(value) <= set(properties), f"{at}: {set(value) - set(properties)}"
        for name, member in value.items():
            member_schema = properties.get(name, others if isinstance(others, dict) else {})
            check(member, member_schema, whole, f"{at}.{name}")
    assert not schema, f"unknown in {at}: {schema}"


def fits(value, schema, whole):
    try:
        check(value, schema, whole)
    except AssertionError:
        return False
    return True


@pytest.fixture(scope="module")
def description(server):
    answer = server.ask("GET", "/openapi.json")
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/json"
    return answer.json()


def held_to(description, path, method, answer: Answer):
    responses = description["paths"][path][method]["responses"]
    content = responses.get(str(answer.status), responses["default"])["content"]
    kind = answer.headers["Content-Type"].split(";")[0]
    assert kind in content, f"{path} may not answer {kind}"
    schema = content[kind]["schema"]
    check(answer.json() if kind == "application/json" else answer.text, schema, description)


REQUESTS = [
    ("/generate", {"max_tokens": 3}), ("/generate", {"n": 3, "max_tokens": 3, "seed": 1}),
    ("/generate", {"max_tokens": 3, "stream": True}), ("/generate", {"n": 33}),
    ("/generate", {"stop": ["a", "b"], "temperature": 0, "truncate": True, "max_tokens": 2}),
    ("/v1/completions", {"max_tokens": 3, "prompt": "a"}),
    ("/v1/completions", {"max_tokens": 3, "n": 2, "echo": True, "user": "me"}),
    ("/v1/completions", {"max_tokens": 3, "stream": True}), ("/v1/completions", {"top_p": -1}),
    ("/v1/completions", {"max_tokens": 3, "logprobs": 0, "prompt": ["a cat", [270, 300]]}),
    ("/v1/completions", {"max_tokens": 3, "logprobs": 5, "echo": True, "prompt": [270, 300]}),
    ("/v1/completions", {"logprobs": 6}), ("/v1/completions", {"prompt": ["a"] * 33}),
    ("/v1/completions", {"prompt": []}), ("/v1/completions", {"prompt": [[]]}),
    ("/v1/completions", {"prompt": [[-1]]}), ("/generate", {"prompt": ["a"]}),
    ("/v1/completions", {"max_tokens": 0, "echo": True, "logprobs": False, "seed": -1}),
    ("/v1/completions", {"max_tokens": 2, "n": 2, "best_of": 2,
                         "logit_bias": {"0": 1.5, "300": -100}}),
    ("/generate", {"max_tokens": 0, "presence_penalty": -2, "frequency_penalty": 2}),
    ("/generate", {"logit_bias": {"01": 1}}), ("/generate", {"logit_bias": {"1": 101}}),
    ("/generate", {"logit_bias": {str(number): 1 for number in range(301)}}),
    ("/generate", {"presence_penalty": 3}), ("/v1/completions", {"logprobs": True}),
    ("/v1/completions", {"seed": -2}), ("/v1/completions", {"best_of": 17}),
    ("/generate", {"max_tokens": 2, "n": 2, "best_of": 16}), ("/generate", {"best_of": 0}),
    ("/tokenize", {"text": "a cat"}), ("/tokenize", {}), ("/detokenize", {"tokens": [1, 100]}),
    ("/detokenize", {"tokens": "a"}), ("/detokenize", {"tokens": [4000]}), ("/detokenize", {}),
    ("/tokenize", {"text": "a cat", "pieces": True, "add_special": True}),
    ("/tokenize", {"text": "a cat", "piece": True}), ("/generate", {"stop": ["a", ""]}),
    ("/v1/chat/completions", {"messages": [{"role": "system"}, {"role": "user", "content": "a"}],
                              "max_completion_tokens": 3, "n": 2, "store": True}),
    ("/v1/chat/completions",
     {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
      "max_tokens": 3, "logprobs": True, "top_logprobs": 2}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3,
                              "stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", {}), ("/v1/chat/completions", {"messages": None}),
    ("/v1/chat/completions", {"messages": []}),
    ("/v1/chat/completions", {"messages": [{"role": "assistant", "content": "a"}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": []}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
    ("/v1/chat/completions", {"messages": [{"role": "robot"}, {"role": "user", "content": "a"}]}),
]


@pytest.mark.parametrize("path, body", REQUESTS)
def test_real_answers_fit_the_description(server, description, path, body):
    answer = server.post(path, body)
    held_to(description, path, "post", answer)
    content = description["paths"][path]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    if answer.status == 200:
        check(body, schema, description)
    else:  # what is refused does not fit either
        with pytest.raises(AssertionError):
            check(body, schema, description)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/{id}", "/health", "/ready", "/metrics",
                                  "/openapi.json"])
def test_real_answers_to_get_fit_the_description(server, description, path):
    held_to(description, path, "get", server.ask("GET", path.format(id=MODEL.name)))


def test_errors_and_plain_text_fit_too(server, description):
    held_to(description, "/generate", "post", server.post("/generate", "{"))
    held_to(description, "/generate", "post",
            server.post("/generate", {"max_tokens": 2}, {"Accept": "text/plain"}))
    held_to(description, "/health", "get", server.ask("DELETE", "/health"))
    held_to(description, "/v1/models/{id}", "get", server.ask("GET", "/v1/models/gpt-4"))


def test_the_description_is_the_file_with_the_schemas_of_requests_in_it(description):
    written = json.loads((ROOT / "server" / "api" / "openapi.json").read_text())
    for name in ("GenerateRequest", "CompletionRequest", "ChatRequest", "TokenizeRequest",
                 "DetokenizeRequest"):
        schema = description["components"]["schemas"][name]
        if not name.endswith("okenizeRequest"):
            assert schema["properties"]["temperature"]["maximum"] == 2
        written["components"]["schemas"][name] = schema
    assert description == written


def test_the_described_defaults_are_those_of_a_request_without_the_fields(server, description):
    wish = {"seed": 3, "max_tokens": 30}
    for path, name in (("/generate", "GenerateRequest"), ("/v1/completions", "CompletionRequest")):
        fields = description["components"]["schemas"][name]["properties"].items()
        defaults = {field: schema["default"] for field, schema in fields if "default" in schema}
        assert {"temperature", "top_k", "top_p", "min_p", "n"} <= set(defaults)
        answers = [server.post(path, {**body, **wish}).json() for body in ({}, defaults)]
        for answer in answers:
            for varying in ("id", "created", "timings", "usage"):
                answer.pop(varying, None)
        assert answers[0] == answers[1]


def test_the_described_server_is_where_the_description_lies(description):
    urls = [each["url"] for each in description["servers"]]
    for folder in ["http://host/", "https://host/under/a/prefix/"]:
        assert [urllib.parse.urljoin(folder + "openapi.json", url) for url in urls] == [folder]


def test_every_path_is_described_and_exists(server, description):
    assert description["openapi"].startswith("3.1")
    for path, operations in description["paths"].items():
        for method in operations.keys() - {"parameters"}:
            answer = server.ask(method.upper(), path.format(id=MODEL.name))
            assert answer.status not in (404, 405), path
    assert json.dumps(description).count('"operationId"') == len(
        {operation["operationId"] for operations in description["paths"].values()
         for method, operation in operations.items() if method != "parameters"})


BASES = {"/generate": {"max_tokens": 1}, "/v1/completions": {"max_tokens": 1},
         "/v1/chat/completions": {"max_tokens": 1, "messages": [{"role": "user", "content": "a"}],
                                  "logprobs": True},
         "/tokenize": {"text": "a"}, "/detokenize": {"tokens": [5]}}


def edges(schema):
    """(a value at a limit, one just beyond it) for each limit of a schema."""
    for option in schema.get("anyOf", []):
        yield from edges(option)
    step = 1 if "integer" in schema.get("type", []) else 0.001
    for key, sign in (("minimum", -1), ("maximum", 1)):
        if key in schema:
            yield schema[key], schema[key] + sign * step
    if "maxLength" in schema:
        yield "x" * schema["maxLength"], "x" * (schema["maxLength"] + 1)
    if "minLength" in schema:
        yield "x" * schema["minLength"], "x" * (schema["minLength"] - 1)
    within = None
    if "items" in schema:
        within = next((value for value, _ in edges(schema["items"])), "x")
    if "maxItems" in schema:
        yield [within] * schema["maxItems"], [within] * (schema["maxItems"] + 1)
    if "minItems" in schema:
        yield [within] * schema["minItems"], [within] * (schema["minItems"] - 1)
    if within is not None:
        for value, beyond in edges(schema["items"]):
            yield [value], [beyond]


@pytest.mark.parametrize("path", BASES)
def test_the_described_limits_are_those_of_the_server(server, description, path):
    """At each limit a request is accepted, and just beyond it refused with the field's name."""
    content = description["paths"][path]["post"]["requestBody"]["content"]
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    properties = description["components"]["schemas"][name]["properties"]
    tried = 0
    for field, schema in properties.items():
        if field == "messages":
            continue
        for value, beyond in edges(schema):
            answer = server.post(path, {**BASES[path], field: value})
            assert answer.status == 200, (field, value, answer.text)
            answer = server.post(path, {**BASES[path], field: beyond})
            assert answer.status == 400, (field, beyond)
            assert answer.json()["error"]["param"] == field, beyond
            tried += 1
    assert tried > {"/tokenize": -1, "/detokenize": 1}.get(path, 15)
