"""What a script prints as JSON when it runs under TensorFlow and Keras, in a virtual environment of their own.

The environment is made once (about 2 GB), in ~/.cache/linnaeus-benchmarks/keras or where LINNAEUS_KERAS_ENV says.

    python benchmarks/keras_env.py      makes it, and prints the versions
"""

import json
import os
import subprocess
import sys
from pathlib import Path

PACKAGES = ["tensorflow==2.21.0", "pillow"]
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONWARNINGS": "ignore"}
VERSIONS = """
import json, keras, sys, tensorflow
print(json.dumps({"tensorflow": tensorflow.__version__, "keras": keras.__version__, "python": sys.version.split()[0]}))
"""


def keras_python() -> Path:
    """The environment's interpreter; makes the environment where there is none or another than is asked for."""
    default = Path.home() / ".cache" / "linnaeus-benchmarks" / "keras"
    folder = Path(os.environ.get("LINNAEUS_KERAS_ENV", default))
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    finished = folder / "packages.json"
    if not finished.exists() or json.loads(finished.read_text()) != PACKAGES:
        print(f"Installing {', '.join(PACKAGES)} in {folder}, once ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, stdout=sys.stderr)
        finished.write_text(json.dumps(PACKAGES))
    return python


def run_keras(script: str, *arguments: str) -> dict:
    """The JSON object on the last line that the script, a file's path or its text, prints; its stderr is shown."""
    start = ["-c", script] if "\n" in script else [script]
    command = [keras_python(), *start, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | QUIET)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(run_keras(VERSIONS))
