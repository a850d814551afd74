"""How the files in the directory of a run are called, see `cvtool.training`. No torch here."""

CONFIG, METRICS, LAST, BEST, STATE = "config.json", "metrics.jsonl", "last.safetensors", "best.safetensors", "state.pt"
SAMPLES, REPORT = "samples", "report.html"
LOCK = ".lock"
