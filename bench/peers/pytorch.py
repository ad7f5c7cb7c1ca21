"""PyTorch as a participant of the benchmark, in the same lines of JSON as ../serve.ts.

`pytorch.py THREADS` answers requests on the cpu and `pytorch.py cuda` on a GPU, in true f32 without the shorter
mantissas of its matrix units; `pytorch.py export FILE` writes the case on standard input as an ONNX model.
"""

import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

TARGET, WARM_CALLS, WARM_LEAST, WARM_MOST = 0.06, 12, 0.4, 4.0


def values_of(spec):
    """The elements of a spec, bit for bit those of ../values.ts."""
    shape = spec["shape"]
    if "value" in spec:
        return torch.full(shape, float(spec["value"]), device=DEVICE)
    if "oneHot" in spec:
        return F.one_hot(torch.arange(shape[0]) % shape[1], shape[1]).float().to(DEVICE)
    with np.errstate(over="ignore"):
        h = np.arange(math.prod(shape), dtype=np.uint32) * np.uint32(0x9E3779B1)
        h += np.uint32(spec["seed"] * 0x85EBCA77 & 0xFFFFFFFF)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    values = (h.astype(np.float64) / 2**32 - 0.5) * spec["scale"]
    return torch.from_numpy(values.astype(np.float32).reshape(shape)).to(DEVICE)


def map_specs(tree, make):
    if isinstance(tree, list):
        return [map_specs(branch, make) for branch in tree]
    if isinstance(tree.get("shape"), list):
        return make(tree)
    return {key: map_specs(branch, make) for key, branch in tree.items()}


def leaves(tree):
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [leaf for branch in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(branch)]


def summarize(values):
    if isinstance(values, torch.Tensor):
        values = values.cpu()
    values = np.asarray(values, dtype=np.float64).ravel()
    at = lambda index: float(values[max(0, min(len(values) - 1, index))])
    return {
        "mean": float(values.mean()),
        "size": math.sqrt(float((values * values).mean())),
        "samples": [at(1), at(len(values) >> 1), at(len(values) - 2)],
    }


def convolution(x, weight, options):
    return F.conv2d(x, weight, stride=options["stride"], padding=options["padding"], groups=options["groups"])


def attention(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1) @ v


OPERATIONS = {
    "matmul": lambda o, a, b: a @ b,
    "gelu": lambda o, x: F.gelu(x * 1.5 + 0.25) + x,
    "sum": lambda o, x: x.sum(0, keepdim=True),
    "softmax": lambda o, x: torch.softmax(x, -1),
    "layerNorm": lambda o, x, gain, bias: F.layer_norm(x, (x.shape[-1],), gain, bias, 1e-5),
    "convolution": lambda o, x, weight: convolution(x, weight, o),
    "attention": lambda o, q, k, v: attention(q, k, v),
}


def normalize(x, norm, eps):
    return F.layer_norm(x, (int(x.shape[-1]),), norm["gain"], norm["bias"], eps)


def linear(x, layer):
    return F.linear(x, layer["weight"], layer["bias"])


def convolve(x, layer, **options):
    return F.conv2d(x, layer["weight"], layer["bias"], **options)


def tokens_of(x):
    return x.flatten(2).transpose(1, 2)


def map_of(tokens, height, width):
    batch, _, channels = map(int, tokens.shape)
    return tokens.transpose(1, 2).reshape(batch, channels, height, width)


def transformer_block(block, x, heads, height, width):
    batch, count, channels = map(int, x.shape)
    part = block["attention"]
    normed = source = normalize(x, block["norm1"], 1e-6)
    if "reduction" in part:
        layer = part["reduction"]["convolution"]
        fewer = convolve(map_of(normed, height, width), layer, stride=int(layer["weight"].shape[-1]))
        source = normalize(tokens_of(fewer), part["reduction"]["norm"], 1e-5)
    by_head = lambda t: t.reshape(batch, -1, heads, channels // heads).transpose(1, 2)
    both = linear(source, part["keyValue"])
    attended = attention(
        by_head(linear(normed, part["query"])), by_head(both[..., :channels]), by_head(both[..., channels:])
    )
    x = x + linear(attended.transpose(1, 2).reshape(batch, count, channels), part["output"])
    forward = block["feedForward"]
    hidden = map_of(linear(normalize(x, block["norm2"], 1e-6), forward["expand"]), height, width)
    mixed = convolve(hidden, forward["depthwise"], padding=1, groups=int(hidden.shape[1]))
    return x + linear(F.gelu(tokens_of(mixed)), forward["contract"])


def encoder(stages, x):
    """The Mix Transformer of ../../models/mit_encoder.ts."""
    features = []
    for index, (stage, heads) in enumerate(zip(stages, (1, 2, 5, 8))):
        stride, padding = (4, 3) if index == 0 else (2, 1)
        embedded = convolve(x, stage["patches"]["projection"], stride=stride, padding=padding)
        height, width = map(int, embedded.shape[2:])
        tokens = normalize(tokens_of(embedded), stage["patches"]["norm"], 1e-5)
        for block in stage["blocks"]:
            tokens = transformer_block(block, tokens, heads, height, width)
        x = map_of(normalize(tokens, stage["norm"], 1e-6), height, width)
        features.append(x)
    return features


def perceptron_loss(layers, images, labels):
    x = images
    for index, layer in enumerate(layers):
        x = (x if index == 0 else torch.relu(x)) @ layer["weight"] + layer["bias"]
    return -(F.log_softmax(x, -1) * labels).sum() / images.shape[0]


def encoder_loss(stages, image, *targets):
    return sum(((x - target) ** 2).mean() for x, target in zip(encoder(stages, image), targets))


LOSSES = {"perceptronStep": perceptron_loss, "encoderStep": encoder_loss}


def forward_of(case):
    """The case as a function of its inputs."""
    if case["operation"] == "encoder":
        parameters = map_specs(case["parameters"], values_of)
        return lambda image: encoder(parameters, image)[-1]
    operation = OPERATIONS.get(case["operation"])
    if operation is None:
        raise ValueError("not written for PyTorch")
    return lambda *inputs: operation(case.get("options", {}), *inputs)


def step_of(case, inputs):
    """One step of plain gradient descent, which returns the loss."""
    loss_of = LOSSES[case["operation"]]
    parameters = map_specs(case["parameters"], values_of)
    trained = leaves(parameters)
    for parameter in trained:
        parameter.requires_grad_()

    def step():
        with torch.enable_grad():
            loss = loss_of(parameters, *inputs)
        for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained)):
            parameter.sub_(gradient, alpha=case["options"]["learningRate"])
        return loss.reshape(1)

    return step


def finish():
    """Waits for the GPU."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class Job:
    """A prepared case."""

    def __init__(self, case):
        inputs = [values_of(spec) for spec in case["inputs"]]
        is_step = case["operation"] in LOSSES
        forward = None if is_step else forward_of(case)
        self.call = step_of(case, inputs) if is_step else lambda: forward(*inputs)
        start = time.perf_counter()
        result = self.call()
        finish()
        self.first = 1e3 * (time.perf_counter() - start)
        self.summary = summarize([float(result), float(self.call()), float(self.call())] if is_step else result)
        self.calls = self.warm_up()

    def timed(self, calls):
        start = time.perf_counter()
        for _ in range(calls):
            self.call()
        finish()
        return time.perf_counter() - start

    def warm_up(self):
        start, calls, done = time.perf_counter(), 1, 0
        while True:
            elapsed = max(1e-6, self.timed(calls))
            done += calls
            calls = max(1, min(400, round(TARGET * calls / elapsed)))
            total = time.perf_counter() - start
            if total > WARM_MOST or (total > WARM_LEAST and done >= WARM_CALLS):
                return calls


def require_fast_blas():
    """Debian's PyTorch multiplies with whatever BLAS is installed; the reference one is 60 times slower."""
    with open("/proc/self/maps") as maps:
        loaded = maps.read()
    if DEVICE == "cpu" and not any(name in loaded for name in ("openblas", "mkl", "blis")):
        raise RuntimeError("PyTorch finds only the reference BLAS here; install Debian's libopenblas0-pthread")


def serve():
    job = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["ask"] == "prepare":
                require_fast_blas()
                job = Job(request["case"])
                reply = {"first": job.first, "summary": job.summary}
            elif request["ask"] == "measure":
                reply = {"milliseconds": 1e3 * job.timed(job.calls) / job.calls}
            else:
                job, reply = None, {}
        except Exception as error:  # the runner prints why, and goes on with the next case
            job, reply = None, {"cannot": str(error)}
        print(json.dumps(reply), flush=True)


class Exported(torch.nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.function = forward

    def forward(self, *inputs):
        return self.function(*inputs)


def export(path):
    case = json.loads(sys.stdin.read())
    inputs = tuple(values_of(spec) for spec in case["inputs"])
    names = [f"input{k}" for k in range(len(inputs))]
    model = Exported(forward_of(case))
    torch.onnx.export(model, inputs, path, input_names=names, output_names=["output"], opset_version=17)


torch.set_grad_enabled(False)
DEVICE = "cuda" if sys.argv[1] == "cuda" else "cpu"
if sys.argv[1] == "export":
    export(sys.argv[2])
else:
    if DEVICE == "cpu":
        torch.set_num_threads(int(sys.argv[1]))
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # the fastest algorithm, not the one of a rule
    serve()
