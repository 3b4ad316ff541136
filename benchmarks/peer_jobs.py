"""The jobs that rt_flare's are compared with: NVFlare's FedAvgRecipe and the published resontech 0.3.0, as they come.

`write_recipe_job` and `write_published_job` write job folders. Both run in a process of their own, because the recipe
reads the command line of the process that imports it, and because resontech pins an older boto3 than the rest of the
project uses: uv lays it over the project's environment for that one process.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import PUBLISHED

ROOT = Path(__file__).parents[1]


def write_recipe_job(out: Path, *, model_def: Path, train_script: Path, num_rounds: int, num_sites: int) -> Path:
    """Write the job of NVFlare's ``FedAvgRecipe`` with nothing but its required arguments; return its folder."""
    arguments = ["recipe", str(out), str(model_def), "--train-script", str(train_script)]
    return _write([sys.executable], arguments, out, num_rounds, num_sites)


def write_published_job(out: Path, *, model_def: Path, data_root: Path, num_rounds: int, num_sites: int) -> Path:
    """Write the job that resontech's ``rt_submit`` would upload: its own configurations and scripts, unchanged."""
    interpreter = ["uv", "run", "--no-sync", "--with", PUBLISHED, "python"]
    arguments = ["published", str(out), str(model_def), "--data-root", str(data_root)]
    return _write(interpreter, arguments, out, num_rounds, num_sites)


def _write(interpreter: list[str], arguments: list[str], out: Path, num_rounds: int, num_sites: int) -> Path:
    numbers = ["--num-rounds", str(num_rounds), "--num-sites", str(num_sites)]
    command = [*interpreter, "-m", "benchmarks.peer_jobs", *arguments, *numbers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the job {out} could not be written:\n{done.stdout}{done.stderr}")
    return out


def _write_recipe_job(out: Path, model_def: Path, options: argparse.Namespace) -> None:
    from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe

    recipe = FedAvgRecipe(
        name=out.name,
        model=_import(model_def).Model(),
        min_clients=options.num_sites,
        num_rounds=options.num_rounds,
        train_script=str(options.train_script),
    )
    recipe.export(str(out.parent))


def _write_published_job(out: Path, model_def: Path, options: argparse.Namespace) -> None:
    from resontech.rt import FederationConfig, RTJobBuilder

    federation = FederationConfig(num_rounds=options.num_rounds, min_clients=options.num_sites, job_name=out.name)
    builder = RTJobBuilder(federation_config=federation, data_root=str(options.data_root))
    scripts = builder.render_scripts(_import(model_def).Model)
    configs = builder.render_configs()
    app = out / "app"
    files = {out / "meta.json": configs["meta"]}
    files |= {app / "config" / f"config_fed_{side}.json": configs[side] for side in ("client", "server")}
    files |= {app / "custom" / name: content for name, content in scripts.items()}
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _import(path: Path) -> object:
    sys.path.insert(0, str(path.parent))
    return importlib.import_module(path.stem)


def main() -> None:
    """Write one job."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("recipe", "published"))
    parser.add_argument("out", type=Path)
    parser.add_argument("model_def", type=Path)
    parser.add_argument("--train-script", type=Path)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--num-rounds", type=int, required=True)
    parser.add_argument("--num-sites", type=int, required=True)
    options = parser.parse_args()
    write = {"recipe": _write_recipe_job, "published": _write_published_job}[options.kind]
    write(options.out, options.model_def, options)


if __name__ == "__main__":
    main()
