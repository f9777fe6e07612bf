"""Engine: one vLLM engine in this process, with only the calls that rollouts need. No Ray in here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer
from vllm import LLM, CompletionOutput, RequestOutput, SamplingParams
from vllm.exceptions import VLLMClientError
from vllm.sampling_params import RequestOutputKind
from vllm.v1.request import RequestStatus

from actors import cpu_shortcuts, kept_cache
from actors.weights import transfer
from actors.weights.channel import BroadcastChannel
from actors.weights.format import Bucket, Checksum
from bots.config.train import RolloutConfig
from bots.rollouts.request import RefusedError, Request, RequestKey, Sampling
from bots.rollouts.rollout import Rollout


class Engine:
    """A vLLM engine that returns log-probabilities with its samples and can load new weights at any time.

    model: folder or hub name of the model and its tokenizer.
    config: engine settings; the same code runs on a CPU (gpus = 0) and on GPUs.
    """

    def __init__(self, model: str, config: RolloutConfig, seed: int = 0) -> None:
        on_gpu = config.gpus > 0
        transfer.register()
        device = (
            {"gpu_memory_utilization": config.gpu_memory_utilization}
            if on_gpu
            else {"kv_cache_memory_bytes": int(config.kv_cache_gib * 2**30), "block_size": 32}
        )
        self.llm = LLM(
            model,
            dtype=config.dtype,
            seed=seed,
            tensor_parallel_size=config.workers,
            # One actor holds all its GPUs, so its workers must be its own child processes. Otherwise, in a placement
            # group of Ray Tune, vLLM would look for Ray workers.
            distributed_executor_backend="mp" if config.workers > 1 else None,
            max_model_len=config.max_model_len,
            max_num_seqs=config.max_num_seqs,
            # A seeded request in a chunked prefill crashes the CPU engine, so prompts are not chunked there.
            enable_chunked_prefill=on_gpu,
            max_num_batched_tokens=max(config.max_model_len, 8192),
            enforce_eager=config.enforce_eager,
            # The loss needs the distribution that the tokens were sampled from, after temperature and top-p.
            logprobs_mode="processed_logprobs",
            weight_transfer_config={"backend": transfer.BACKEND},
            worker_extension_cls=transfer.WORKER_EXTENSION,
            disable_log_stats=True,
            **device,
        )
        if not on_gpu and config.workers == 1:
            cpu_shortcuts.install(self.llm)
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.name = ""
        self.version = -1
        self.checksum = ""
        self._checksums = {-1: ""}
        # By vLLM's request name: our key, vLLM's internal name, and the number of completions.
        self._open: dict[str, tuple[RequestKey, str, int]] = {}
        # Complete, but of weights whose checksum is not known yet.
        self._withheld: dict[RequestKey, list[Rollout]] = {}
        self._unchecked = False
        self._keeps_cache = config.keep_kv_cache
        self.recomputed = 0
        """Tokens so far whose keys and values were dropped by new weights, and computed again."""
        self._completions = 0
        self._count = 0
        self.tokens = self.running = 0
        self._count_tokens()

    def _count_tokens(self) -> None:
        """Count what vLLM's steps generate: `tokens` so far, and `running`, the completions in the last step."""
        client: Any = self.llm.llm_engine.engine_core
        get_output = client.get_output

        def counted() -> Any:
            outputs = get_output()
            self.running = len(outputs.outputs)
            self.tokens += sum(len(output.new_token_ids) for output in outputs.outputs)
            return outputs

        client.get_output = counted

    def generate(
        self,
        prompts: Sequence[np.ndarray],
        samples: int,
        *,
        max_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seeds: Sequence[int] | None = None,
        stop_ids: tuple[int, ...] = (),
    ) -> list[list[Rollout]]:
        """Draw `samples` completions of each prompt (int32 token ids); returns one list of rollouts per prompt.

        seeds: one per prompt. With seeds, completions do not depend on what else is in the batch.
        """
        settings = Sampling(samples, max_tokens, temperature, top_p, stop_ids)
        for place, prompt in enumerate(prompts):
            seed = None if seeds is None else int(seeds[place])
            self.submit(Request(("prompt", 0, place), prompt, settings, seed))
        done: dict[RequestKey, list[Rollout]] = {}
        while self.unfinished:
            done |= self.step()
        return [done["prompt", 0, place] for place in range(len(prompts))]

    def submit(self, request: Request) -> None:
        """Add a prompt to the running batch; `step` returns its completions under the request's key.

        Raises RefusedError for a request that vLLM can't serve.
        """
        try:
            self._submit(request)
        except (VLLMClientError, ValueError, TypeError) as error:
            # vLLM rejects this request. Any other error is the engine's own: a broken engine must not go on, or it
            # would refuse everything.
            raise RefusedError(f"vLLM refused it: {error}") from error

    def _submit(self, request: Request) -> None:
        sampling = request.sampling
        settings = SamplingParams(
            n=sampling.samples,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            stop_token_ids=list(sampling.stop_ids) or None,
            logprobs=0,
            flat_logprobs=True,
            # Decoding a whole completion at the end is cheaper than decoding it piece by piece as it grows.
            detokenize=False,
            seed=request.seed,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self._count += 1
        name = str(self._count)
        prompt = {"prompt_token_ids": request.prompt.tolist()}
        # vLLM's internal name of the request; its outputs carry ours.
        internal = self.llm.llm_engine.add_request(name, prompt, settings)
        self._open[name] = request.key, internal, sampling.samples
        self._completions += sampling.samples

    def step(self) -> dict[RequestKey, list[Rollout]]:
        """Advance every running completion by a token, or by several on a CPU; returns the groups now complete.

        Groups are withheld until the checksum of received weights is known. Raises WrongWeights if it is not the
        learner's.
        """
        self._withheld |= self._advance()
        if self._unchecked and not self._check(wait=not self._open):
            return {}
        groups, self._withheld = self._withheld, {}
        return groups

    def _advance(self) -> dict[RequestKey, list[Rollout]]:
        done = [output for output in self.llm.llm_engine.step() if output.finished]
        if not done:
            return {}
        texts = iter(
            self.tokenizer.batch_decode(
                [completion.token_ids for output in done for completion in output.outputs],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
        )
        return {self._close(output.request_id): self._rollouts(output, texts) for output in done}

    def _close(self, name: str) -> RequestKey:
        key, _, samples = self._open.pop(name)
        self._completions -= samples
        return key

    @property
    def early_completions(self) -> int:
        """Number of finished completions that wait for the rest of their group."""
        return self._completions - int(sum(self._scheduler.get_request_counts()))

    @property
    def unbegun(self) -> int:
        """Number of prompts with no completion started: all slots have been busy since they arrived."""
        return len(self._unbegun())

    def _unbegun(self) -> list[str]:
        """Their names, in order of arrival."""
        waiting = Counter(
            request.request_id.split("_", 1)[-1]
            for request in self._scheduler.waiting
            if request.status == RequestStatus.WAITING
        )
        if not waiting:
            return []
        return [name for name, (_, internal, samples) in self._open.items() if waiting[internal] == samples]

    @property
    def _core(self) -> Any:
        # vLLM's core is in this process (VLLM_ENABLE_V1_MULTIPROCESSING=0).
        core: Any = self.llm.llm_engine.engine_core
        return core.engine_core

    @property
    def _scheduler(self) -> Any:
        return self._core.scheduler

    def give_back(self, count: int) -> list[RequestKey]:
        """Remove up to `count` of the newest prompts with no completion started; returns their keys."""
        names = self._unbegun()[-count:] if count > 0 else []
        self.llm.llm_engine.abort_request([self._open[name][1] for name in names], internal=True)
        return [self._close(name) for name in names]

    @property
    def unfinished(self) -> int:
        """Number of prompts submitted and not returned by `step`."""
        return len(self._open) + len(self._withheld)

    def abort(self) -> None:
        """Discard everything that was submitted."""
        self.llm.llm_engine.abort_request([internal for _, internal, _ in self._open.values()], internal=True)
        self._open.clear()
        self._withheld.clear()
        self._completions = 0

    def _rollouts(self, output: RequestOutput, texts: Iterator[str]) -> list[Rollout]:
        return [self._rollout(completion, next(texts)) for completion in output.outputs]

    def _rollout(self, completion: CompletionOutput, text: str) -> Rollout:
        spans = tuple(
            (_number(span.version), span.end - span.start) for span in completion.weight_versions or ()
        )
        oldest = spans[0][0] if spans else self.version
        return Rollout(
            token_ids=np.asarray(completion.token_ids, np.int32),
            logprobs=np.asarray(completion.logprobs.logprobs, np.float32),
            text=text,
            finished=completion.finish_reason == "stop",
            version=oldest,
            weights=self._checksums[oldest],
            spans=spans,
            engine=self.name,
        )

    def load(self, buckets: Iterable[Bucket], version: int, known: str | None = None) -> str:
        """Replace all weights and drop the prefix cache; returns the checksum of the loaded weights.

        Call it between two steps. Completions in progress keep their tokens, and each token keeps the log-probability
        under the policy that sampled it. The keys and values of all their tokens are recomputed under the new weights
        before the next token is sampled, so every token comes from exactly one policy. With `rollout.keep_kv_cache`
        they are kept: the new weights then sample from keys and values of the old ones.

        buckets: parameters in checkpoint names and shapes, loaded one by one as they arrive. known: their checksum, if
        it was computed before, so that no completion waits for it.
        Raises RuntimeError if the prefix cache, which holds keys of the old weights, can't be dropped.
        """
        self._settle()
        self.llm.start_weight_update()
        checksum = Checksum()
        for bucket in buckets:
            if known is None:
                checksum.add(bucket)
            self.llm.update_weights({"update_info": {"weights": list(bucket)}})
        self.llm.finish_weight_update(str(version))
        return self._install(version, checksum.hexdigest() if known is None else known)

    def receive(self, channel: BroadcastChannel, version: int) -> str:
        """Like `load`, from a broadcast that each worker takes part in; returns the checksum that the learner computed.

        The checksum of what arrived is computed while the next steps run; see `step`. channel: for the first worker.
        Raises RuntimeError if the broadcast breaks off.
        """
        self._settle()
        self.llm.start_weight_update()
        self.llm.update_weights({"update_info": {"channel": channel}})
        self._unchecked = True
        self.llm.finish_weight_update(str(version))
        ((checksum, _), *_) = self._received(wait=False)
        return self._install(version, checksum)

    def _settle(self) -> None:
        """Other weights may come only when the last ones are known to be right, and their tokens are here."""
        if self._unchecked:
            self._check(wait=True)
        if self._keeps_cache:
            with kept_cache.draining(self._core) as any_left:
                while any_left():
                    self._withheld |= self._advance()

    def _check(self, wait: bool) -> bool:
        """Whether all workers have checked the weights that they received. Raises WrongWeights."""
        self._unchecked = not all(known for _, known in self._received(wait))
        return not self._unchecked

    def _received(self, wait: bool) -> list[tuple[str, bool]]:
        found: list[tuple[str, bool]] = self.llm.llm_engine.collective_rpc("received_weights", args=(wait,))
        return found

    def _install(self, version: int, checksum: str) -> str:
        if self._keeps_cache:
            kept_cache.forget_prefixes(self._core, version)
        else:
            self.recomputed += kept_cache.held_tokens(self._core)
            if not self.llm.reset_prefix_cache(reset_running_requests=True):
                raise RuntimeError(f"vLLM refused to drop its prefix cache before policy version {version}")
        self.version = version
        self.checksum = self._checksums[version] = checksum
        return checksum

    @property
    def vocab_size(self) -> int:
        """Number of rows in the engine's embedding."""
        return int(self.llm.llm_engine.model_config.get_vocab_size())


def _number(label: str) -> int:
    """The policy version in vLLM's label of the weights; the label is "default" until weights are loaded."""
    return -1 if label == "default" else int(label)


def prepare_process() -> None:
    """Set torch's thread count from the environment; vLLM would otherwise take every core."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
