from __future__ import annotations

from zoo_health import write_table

MODEL = {
    "model": "lenet", "image_size": 32, "first_loss": [2.3, 2.3], "aspects": ["heart"],
    "values": {"eager": ["in 3 steps"], "graph": ["in 4 steps"]}, "verdict": "healthy",
}  # fmt: skip
HEAD = {
    "classes": 10, "image_size": 32, "head": "uniform", "losses": [5.8, 7.9], "logit_std": 3.9,
    "squared_length": 425,
}  # fmt: skip


def test_a_row_has_one_number_where_the_modes_agree():
    text = write_table([HEAD, MODEL, {"case": "cnn", "error": "it died"}])
    assert "| lenet | 32 | 2.3 | in 3 steps / in 4 steps | healthy |" in text
    assert "| cnn | failed: it died |" in text
    assert "| 10 | 32 | uniform | 2.30 | 5.8, 7.9 | 3.9 | 3.76 |" in text
