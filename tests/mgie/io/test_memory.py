"""Weights that wait in main memory: the LLM comes whole where it fits, once a batch, and the edit is the same."""

import tiny
import torch

from mgie.io.memory import ROOM, Whole, bytes_of


def counted(monkeypatch, pipe) -> list[str]:
    """Which part came, and which left, in order."""
    moves: list[str] = []
    arrive, leave = Whole.arrive, Whole.offload
    names = {id(next(part.parameters())): name for name, part in pipe.components.items()}

    def came(self) -> None:
        there = self.there
        arrive(self)  # after the others have left
        moves.extend([] if there else [f"{names[id(self.home[0][0])]} came"])

    def left(self) -> None:
        moves.extend([f"{names[id(self.home[0][0])]} left"] if self.there else [])
        leave(self)

    monkeypatch.setattr(Whole, "arrive", came)
    monkeypatch.setattr(Whole, "offload", left)
    return moves


def test_the_llm_comes_whole_and_once_a_batch_and_leaves_before_the_unet(monkeypatch):
    pipe = tiny.build()
    asked = ([tiny.picture(0), tiny.picture(1)], ["add snow", "make it night"])
    before = pipe(*asked, generator=tiny.generators(0, 1))
    moves = counted(monkeypatch, pipe)
    pipe.enable_model_cpu_offload("cpu")
    after = pipe(*asked, generator=tiny.generators(0, 1))
    assert [i.tobytes() for i in after.images] == [i.tobytes() for i in before.images]
    assert after.expressive_instructions == before.expressive_instructions
    assert moves.count("llama came") == moves.count("tower came") == 1  # for the whole batch, every token
    assert moves.index("llama left") < moves.index("edit_head came") < moves.index("unet came")
    there: set[str] = set()
    for name, move in map(str.split, moves):
        (there.add if move == "came" else there.discard)(name)
        assert len(there) == 1 or there <= {"llama", "tower", "projector"}
    assert moves[-1] == "vae came"
    assert pipe.mllm.llama.lm_head.weight.device.type == "cpu"  # no layer of it is taken away


def test_layer_by_layer_only_where_the_whole_does_not_fit_and_that_is_said(monkeypatch, caplog):
    size = bytes_of(tiny.build().mllm.llama)
    for free, whole in ((size + ROOM, True), (size + ROOM - 1, False)):
        monkeypatch.setattr("mgie.io.memory.free_bytes", lambda device, free=free: free)
        caplog.clear()
        pipe = tiny.build()
        pipe.enable_model_cpu_offload("cpu")
        assert (pipe.mllm.llama.lm_head.weight.device.type == "cpu") == whole
        assert ("layer by layer" in caplog.text) == (not whole)


def test_weights_that_left_are_the_ones_that_waited():
    module = torch.nn.Linear(3, 3)
    home = module.weight.data_ptr()
    away = Whole(module, torch.device("cpu"))
    away.arrive()
    module.weight.data = module.weight.data.clone()  # as on a GPU, where they are others
    away.offload()
    assert module.weight.data_ptr() == home
