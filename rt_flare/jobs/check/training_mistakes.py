"""The common mistakes of a training function, as its source shows them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rt_flare.jobs.check.finding import CheckFinding, error, warning
from rt_flare.jobs.check.module_contract import train_function
from rt_flare.jobs.check.module_text import ModuleText
from rt_flare.jobs.check.signatures import top_level

__all__ = ["check_training"]

_RESULT_KEYS = {"weights", "state_dict", "samples", "num_samples", "metrics", "final_checkpoint"}
_WEIGHTS_KEYS = {"weights", "state_dict", "final_checkpoint"}
_LOADERS = {"load_state_dict", "set_weights"}
_PASSED_THROUGH = {"to", "cuda", "cpu", "float", "half", "double", "bfloat16", "train", "eval", "requires_grad_"}
# A misspelt key is reported as such.
_READS_WEIGHTS = re.compile(r"initial_?weight")
_COUNT_FIX = "Return the number of samples that this site trained on, such as len(dataset): it weights the update."


def check_training(module: ModuleText, siblings: Iterable[Path] = ()) -> Iterator[CheckFinding]:
    """What is wrong with how the module loads weights, trains and returns.

    Args:
        module: the module with the training function.
        siblings: files that go along with it, of which one may read the global weights.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _train_before_weights(module, node)
    yield from _hard_coded_device(module)
    function = train_function(module)
    if function is None:
        return
    texts = [module.text, *(path.read_text(errors="replace") for path in siblings)]
    if function.name == "fl_train_model" and not any(_READS_WEIGHTS.search(text) for text in texts):
        yield error(
            "weights-not-loaded",
            module.path,
            "initial_weights is never read",
            'model.load_state_dict(payload["initial_weights"])',
            "Load the global weights first: without them every round starts anew.",
            line=function.lineno,
        )
    yield from _returns(module, function)


def _train_before_weights(
    module: ModuleText, function: ast.FunctionDef | ast.AsyncFunctionDef
) -> Iterator[CheckFinding]:
    """The first switch to training mode of a model comes before the first time that weights are loaded into it."""
    trained: dict[str, int] = {}
    loaded: dict[str, int] = {}
    for node in _own_nodes(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and _switches_to_training(node.value):
            target = ast.dump(node.targets[0]).replace("Store()", "Load()")
            trained[target] = min(trained.get(target, node.lineno), node.lineno)
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        receiver = ast.dump(_root(node.func.value))
        if node.func.attr in _LOADERS:
            loaded[receiver] = min(loaded.get(receiver, node.lineno), node.lineno)
        elif _switches_to_training(node):
            trained[receiver] = min(trained.get(receiver, node.lineno), node.lineno)
    for receiver, line in loaded.items():
        if trained.get(receiver, line) < line:
            yield warning(
                "train-before-weights",
                module.path,
                f"train() in line {trained[receiver]}, before the weights are loaded in line {line}",
                "the weights first, then the training mode",
                "Move train() below the line that loads the weights.",
                line=trained[receiver],
            )


def _switches_to_training(node: ast.AST) -> bool:
    """Whether an expression is a call of ``train()`` or ``train(True)``, further calls behind it or not."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _PASSED_THROUGH:
        if node.func.attr == "train":
            return not node.args or (isinstance(node.args[0], ast.Constant) and node.args[0].value is True)
        node = node.func.value
    return False


def _root(node: ast.expr) -> ast.expr:
    """``model`` of ``model.to(device).train()``'s receiver."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _PASSED_THROUGH:
        node = node.func.value
    return node


def _hard_coded_device(module: ModuleText) -> Iterator[CheckFinding]:
    if "is_available" in module.text:
        return
    for node in ast.walk(module.tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        first = node.args[0] if node.args else None
        named = isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value.startswith("cuda")
        if (node.func.attr == "cuda" and not named) or (node.func.attr in {"to", "device"} and named):
            yield warning(
                "device-hard-coded",
                module.path,
                ast.unparse(node),
                'env["DEVICE"], which a site without a GPU sets to "cpu"',
                'Write .to(payload["env"]["DEVICE"]).',
                line=node.lineno,
            )


def _returns(module: ModuleText, function: ast.FunctionDef) -> Iterator[CheckFinding]:
    nodes = list(_own_nodes(function))
    returns = [node for node in nodes if isinstance(node, ast.Return) and node.value is not None]
    if not returns and not any(isinstance(node, ast.Raise) for node in nodes):
        yield error(
            "result-missing",
            module.path,
            f"{function.name} returns nothing",
            '{"weights": model.state_dict(), "samples": len(dataset), "metrics": {...}}',
            "Return the trained weights and the number of samples.",
            line=function.lineno,
        )
    for node in returns:
        result = node.value
        if isinstance(result, ast.Dict) and all(isinstance(key, ast.Constant) for key in result.keys):
            values = {str(key.value): value for key, value in zip(result.keys, result.values, strict=True)}  # type: ignore[union-attr]
            yield from _result(module, function, node.lineno, values)


def _result(
    module: ModuleText, function: ast.FunctionDef, line: int, values: dict[str, ast.expr]
) -> Iterator[CheckFinding]:
    file, shown = module.path, ", ".join(values)
    if not _WEIGHTS_KEYS & set(values) and "state_dict.pt" not in module.text:
        fix = 'Return {"weights": model.state_dict(), ...}.'
        yield error("weights-missing", file, f"a result with {shown}", "weights in it", fix, line=line)
    for key in _WEIGHTS_KEYS & set(values):
        value = values[key]
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "parameters":
            fix = "Return model.state_dict(): names and buffers belong to it."
            yield error("weights-not-a-state-dict", file, ast.unparse(value), "a state dict", fix, line=line, field=key)
    counts = [values[key] for key in ("samples", "num_samples") if key in values]
    if not counts:
        yield error("samples-missing", file, f"a result with {shown}", "samples in it", _COUNT_FIX, line=line)
    for count in counts:
        if (constant := _constant(module, function, count)) is not None:
            yield error(
                "samples-constant",
                file,
                f"the constant {constant}",
                "the number of samples that this site trained on",
                _COUNT_FIX,
                line=count.lineno,
                field="samples",
            )
    for key in sorted(set(values) - _RESULT_KEYS):
        fix = 'Put numbers into "metrics", files into out_dir: other keys are dropped.'
        expected = "weights, samples and metrics"
        yield warning("result-key", file, f"the key {key!r}", expected, fix, line=line, field=key)


def _constant(module: ModuleText, function: ast.FunctionDef, value: ast.expr) -> str | None:
    """The number that an expression stands for wherever it runs: a literal, or a name that only ever holds one."""
    if isinstance(value, ast.Constant):
        return repr(value.value)
    if not isinstance(value, ast.Name):
        return None
    stores = [node for node in _own_nodes(function) if isinstance(node, ast.Name) and node.id == value.id]
    written = [node for node in stores if isinstance(node.ctx, ast.Store)]
    arguments = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
    if value.id in arguments:
        return None
    if not written:
        statement = top_level(module.tree).get(value.id)
    else:
        statement = next(
            (n for n in _own_nodes(function) if isinstance(n, ast.Assign) and written[0] in n.targets), None
        )
    if len(written) <= 1 and isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
        return f"{value.id} = {statement.value.value!r}"
    return None


def _own_nodes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function's body, without those of functions and classes inside it."""
    queue: list[ast.AST] = list(function.body)
    while queue:
        node = queue.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            queue.extend(ast.iter_child_nodes(node))
