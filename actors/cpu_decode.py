"""Several tokens per engine step on a CPU: after vLLM's own step, the same completions get more tokens at once.

vLLM spends most of a small model's step around the model: it schedules, prepares inputs, and makes output objects for
every completion. Here that is done once for up to `AHEAD` tokens of each completion. In between, only what changes from
token to token is computed: positions, cache slots, logits, samples. vLLM's scheduler then gets the tokens as it gets
those of speculative decoding, where a step also brings several. Tokens and log-probabilities are bit-identical to those
of single steps. The ranks of the sampled tokens, which nothing here reads, are 0 except for the first of a step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from vllm import LLM
from vllm.forward_context import set_forward_context
from vllm.v1.attention.backends.cpu_attn import CPUAttentionMetadataBuilder
from vllm.v1.kv_cache_interface import FullAttentionSpec
from vllm.v1.outputs import LogprobsLists, ModelRunnerOutput
from vllm.v1.sample.logits_processor.builtin import (
    LogitBiasLogitsProcessor,
    MinPLogitsProcessor,
    MinTokensLogitsProcessor,
)

AHEAD = 16
"""At most this many tokens per completion and engine step."""

LONGEST_SECONDS = 0.1
"""Begin no further token after this CPU time: requests and new weights wait for the end of an engine step.

Not wall-clock: where others use the cores too, steps with fewer tokens would cost even more.
"""


def install(core: Any, runner: Any) -> None:
    """Let an engine in this process decode ahead, whose model and settings are `supported`.

    core, runner: vLLM's `EngineCore` and model runner.
    """
    remove(core)
    core.scheduler.num_lookahead_tokens = AHEAD - 1
    core.model_executor.sample_tokens = Decoder(core, runner).sample_tokens


def remove(core: Any) -> None:
    """Restore vLLM's own step."""
    core.scheduler.num_lookahead_tokens = core.vllm_config.num_lookahead_tokens
    vars(core.model_executor).pop("sample_tokens", None)


def parts(llm: LLM) -> tuple[Any, Any]:
    """vLLM's `EngineCore` and its model runner, of an engine in this process."""
    core: Any = llm.llm_engine.engine_core
    core = core.engine_core
    return core, core.model_executor.driver_worker.worker.model_runner


def supported(core: Any, runner: Any) -> bool:
    """Whether each token of an engine depends on nothing but its tokens so far, all in one attention cache."""
    groups = runner.kv_cache_config.kv_cache_groups
    return (
        core.vllm_config.num_lookahead_tokens == 0
        and core.vllm_config.parallel_config.world_size == 1
        and runner.speculative_config is None
        and not runner.lora_config
        and not runner.uses_mrope
        and not runner.is_pooling_model
        and not runner.supports_mm_inputs
        and not runner.use_async_scheduling
        and runner.sampler.logprobs_mode == "processed_logprobs"
        and not runner.sampler.use_fp64_gumbel
        and len(groups) == 1
        and type(groups[0].kv_cache_spec) is FullAttentionSpec
        and len(runner.attn_groups[0]) == 1
        and type(builder := runner.attn_groups[0][0].get_metadata_builder()) is CPUAttentionMetadataBuilder
        and builder.block_size == runner.input_batch.block_table[0].block_size
    )


def _idle(processor: Any) -> bool:
    """Whether this logits processor of vLLM leaves the current batch alone."""
    match processor:
        case MinPLogitsProcessor():
            return not processor.min_p_count
        case LogitBiasLogitsProcessor():
            return not processor.biases
        case MinTokensLogitsProcessor():
            return not processor.min_toks
    return False


@dataclass
class _Rows:
    """The completions that go on, all in one order.

    - row: place in vLLM's batch.
    - tokens, positions: the newest token of each and its position, int32 and int64.
    - blocks: block tables, (rows, blocks) int32.
    - room: how many more tokens each may get in this step.
    - generators: of the seeded completions; None for others.
    """

    row: np.ndarray
    tokens: torch.Tensor
    positions: torch.Tensor
    blocks: torch.Tensor
    room: np.ndarray
    temperature: torch.Tensor
    top_k: torch.Tensor | None
    top_p: torch.Tensor | None
    generators: list[torch.Generator | None]

    def kept(self, keep: np.ndarray) -> _Rows:
        """Only these."""
        (places,) = np.nonzero(keep)
        at = torch.from_numpy(places)
        return _Rows(
            self.row[places],
            self.tokens[at],
            self.positions[at],
            self.blocks[at],
            self.room[places],
            self.temperature[at],
            None if self.top_k is None else self.top_k[at],
            None if self.top_p is None else self.top_p[at],
            [self.generators[place] for place in places],
        )


class Decoder:
    """Adds tokens to what vLLM's own step sampled.

    core: vLLM's `EngineCore`. runner: its model runner.
    """

    def __init__(self, core: Any, runner: Any) -> None:
        self._scheduler, self._runner = core.scheduler, runner
        self._sample_tokens = core.model_executor.sample_tokens
        self._config = core.vllm_config
        group = runner.attn_groups[0][0]
        self._builder, self._layers = group.get_metadata_builder(), group.layer_names
        self._stop_ids: frozenset[int] = frozenset()
        self._stops = np.zeros(runner.model_config.get_vocab_size(), bool)
        self._starts = torch.arange(runner.max_num_reqs + 1, dtype=torch.int32)

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        """As the method of vLLM's executor, but with up to `AHEAD` tokens for each completion."""
        started = time.thread_time()
        output = self._sample_tokens(grammar_output, non_block)
        if grammar_output is None and not non_block and self._plain(output):
            return self._go_on(output, started)
        return output

    def _plain(self, output: Any) -> bool:
        """Whether every completion got a token, and the next ones depend on nothing but the tokens so far."""
        sampling = self._runner.input_batch.sampling_metadata
        return (
            type(output) is ModelRunnerOutput
            and bool(output.sampled_token_ids)
            and all(output.sampled_token_ids)
            and not output.prompt_logprobs_dict
            and not output.prompt_token_id_logprobs_dict
            and sampling.all_random
            and sampling.no_penalties
            and sampling.max_num_logprobs == 0
            and not sampling.logprob_token_ids
            and sampling.allowed_token_ids_mask is None
            and not sampling.bad_words_token_ids
            and all(_idle(processor) for processor in sampling.logitsprocs.all)
            and (
                sampling.thinking_budget_state_holder is None
                or not sampling.thinking_budget_state_holder.has_tracked_requests()
            )
        )

    @torch.inference_mode()
    def _go_on(self, output: ModelRunnerOutput, started: float) -> ModelRunnerOutput:
        """Sample more tokens; returns vLLM's output with those added."""
        assert output.logprobs is not None
        tokens = output.sampled_token_ids
        logprobs = output.logprobs.logprobs.tolist()
        rows = self._rows(output)
        # By layer; written again for every token.
        metadata: dict[str, Any] = dict.fromkeys(self._layers)
        slots: dict[str, Any] = dict.fromkeys(self._layers)
        with set_forward_context(metadata, self._config, num_tokens=len(rows.row), slot_mapping=slots):
            while len(rows.row) and time.thread_time() - started < LONGEST_SECONDS:
                self._prepare(rows, metadata, slots)
                sampled, found = self._sample(rows, self._logits(rows))
                for row, token, logprob in zip(
                    rows.row.tolist(), sampled.tolist(), found.tolist(), strict=True
                ):
                    tokens[row].append(token)
                    logprobs[row].append(logprob)
                rows.tokens, rows.positions, rows.room = sampled.int(), rows.positions + 1, rows.room - 1
                keep = (rows.room > 0) & ~self._stops[sampled.numpy()]
                if not keep.all():
                    rows = rows.kept(keep)
        self._note(output.req_ids, tokens)
        return self._joined(output, tokens, logprobs)

    def _rows(self, output: ModelRunnerOutput) -> _Rows:
        """The completions of vLLM's step that don't end with its token.

        A row may be left out although vLLM goes on with it: it gets its next token in the next step.
        """
        batch, count = self._runner.input_batch, len(output.req_ids)
        requests = [self._scheduler.requests[name] for name in output.req_ids]
        self._know_stops(requests)
        first = np.array([tokens[0] for tokens in output.sampled_token_ids], np.int32)
        lengths = batch.num_tokens_no_spec[:count].astype(np.int64)
        table = batch.block_table[0]
        # vLLM counts the token that it has just sampled only after this.
        left = np.array(
            [request.max_tokens - request.num_output_tokens - 1 for request in requests], np.int64
        )
        # The newest token's cache slot is needed with the first of these tokens, and so on.
        slots = table.num_blocks_per_row[:count].astype(np.int64) * table.block_size - lengths + 1
        room = np.minimum.reduce(
            [left, slots, self._scheduler.max_model_len - lengths, np.full(count, AHEAD - 1)]
        )
        sampling = batch.sampling_metadata
        rows = _Rows(
            np.arange(count),
            torch.from_numpy(first),
            torch.from_numpy(lengths - 1),
            table.get_device_tensor(count),
            room,
            sampling.temperature[:count],
            sampling.top_k,
            sampling.top_p,
            [sampling.generators.get(row) for row in range(count)],
        )
        return rows.kept((room > 0) & ~self._stops[first])

    def _know_stops(self, requests: list[Any]) -> None:
        """Mark the tokens that end any of these requests."""
        found: set[int] = set()
        for request in requests:
            found.add(request.sampling_params.eos_token_id)
            found.update(request.sampling_params.stop_token_ids or ())
        if found != self._stop_ids:
            self._stop_ids = frozenset(found)
            self._stops[:] = False
            self._stops[[token for token in found if token is not None]] = True

    def _prepare(self, rows: _Rows, metadata: dict[str, Any], slots: dict[str, Any]) -> None:
        """Write what attention needs for the newest tokens, whose keys and values go into the cache."""
        count, size = len(rows.row), self._builder.block_size
        places = (rows.positions // size).unsqueeze(1)
        found = rows.blocks.gather(1, places).squeeze(1) * size + rows.positions % size
        built = self._builder.build(
            0,
            SimpleNamespace(
                num_reqs=count,
                num_actual_tokens=count,
                max_query_len=1,
                max_seq_len=self._scheduler.max_model_len,
                query_start_loc=self._starts[: count + 1],
                seq_lens=(rows.positions + 1).int(),
                block_table_tensor=rows.blocks,
                slot_mapping=found,
                causal=True,
            ),
        )
        for layer in self._layers:
            metadata[layer], slots[layer] = built, found

    def _logits(self, rows: _Rows) -> torch.Tensor:
        """Logits after the newest tokens."""
        model = self._runner.model
        hidden = model(
            input_ids=rows.tokens, positions=rows.positions, intermediate_tensors=None, inputs_embeds=None
        )
        logits: torch.Tensor = model.compute_logits(hidden)
        return logits

    def _sample(self, rows: _Rows, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sample as vLLM does; returns the tokens, int64, and their log-probabilities."""
        logits = logits.to(torch.float32).div_(rows.temperature.unsqueeze(1))
        generators = {place: one for place, one in enumerate(rows.generators) if one is not None}
        draw = self._runner.sampler.topk_topp_sampler.forward
        sampled, logprobs = draw(logits, generators, rows.top_k, rows.top_p)
        return sampled.long(), logprobs.gather(1, sampled.long().unsqueeze(1)).squeeze(1)

    def _note(self, names: list[str], tokens: list[list[int]]) -> None:
        """Put the added tokens where vLLM puts those of its own step, in its runner and its scheduler."""
        runner, batch = self._runner, self._runner.input_batch
        for row, (name, found) in enumerate(zip(names, tokens, strict=True)):
            added = found[1:]
            if not added:
                continue
            start = batch.num_tokens_no_spec[row]
            batch.token_ids_cpu[row, start : start + len(added)] = added
            batch.is_token_ids[row, start : start + len(added)] = True
            batch.num_tokens_no_spec[row] = start + len(added)
            runner.requests[name].output_token_ids.extend(added)
            self._scheduler.requests[name].num_computed_tokens += len(added)

    @staticmethod
    def _joined(
        output: ModelRunnerOutput, tokens: list[list[int]], logprobs: list[list[float]]
    ) -> ModelRunnerOutput:
        counts = [len(found) for found in tokens]
        ends = np.cumsum(counts)
        starts = ends - counts
        ranks = np.zeros(ends[-1], np.int64)
        assert output.logprobs is not None
        ranks[starts] = output.logprobs.sampled_token_ranks
        output.sampled_token_ids = tokens
        output.logprobs = LogprobsLists(
            np.concatenate(tokens, dtype=np.int32)[:, None],
            np.concatenate(logprobs, dtype=np.float32)[:, None],
            ranks,
            starts.tolist(),
        )
        return output
