import json
import math

from pyro_sib.files import read_json, write_json


def test_json_has_no_nan(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": [math.nan, (1.0, math.inf)], "b": {"c": -math.inf}, "d": 3, "e": "nan"})
    assert read_json(path) == {"a": [None, [1.0, None]], "b": {"c": None}, "d": 3, "e": "nan"}
    json.loads(path.read_text(), parse_constant=lambda name: 1 / 0)
