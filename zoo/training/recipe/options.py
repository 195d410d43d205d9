"""The types of a recipe. Written by tools/generate_recipe.py from its knobs: do not edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

import msgspec


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, repr_omit_defaults=True):
    """What a fine-tuning run should be like; what is not given is chosen to suit the rest.

    `finetune_model(…, recipe=Recipe(epochs=1))`. Values are checked there, all problems at once.

    Args:
        head: Kind of head; nearest-mean, for few items of a class, is computed and not trained; auto chooses
            between it and linear. One of: "linear", "mlp", "cosine", "nearest-mean", "auto". Default: linear.
        hidden: Widths of the hidden layers. Only with head="mlp". Default: 256.
        activation: Activation after each hidden layer. Only with head="mlp". One of: "relu", "elu", "tanh",
            "logistic". Default: relu.
        dropout: Share of the head's inputs that is dropped in training. Default: 0.2; 0.5 for texts with
            unfreeze or a trained encoder.
        batch_norm: Normalise each hidden layer over the batch. Only with head="mlp". Default: no.
        standardize: Give the head features of mean 0 and standard deviation 1, as measured on the training
            items. Default: yes; no with head="nearest-mean".
        strategy: What is trained, and in which order; auto chooses by the number of items and classes and by
            the device. One of: "head", "partial", "full", "lp-ft", "norms", "l2-sp", "lora", "gradual",
            "auto". Default: head; full with unfreeze="all" where no head is trained first; lp-ft with
            unfreeze="all"; partial with other stages.
        unfreeze: Then train the backbone too: its last N stages, those from the named one on, or all.
            Default: none; all with strategy full, lp-ft, norms, l2-sp, lora, gradual, auto; 2 with a trained
            encoder; 2 for texts with strategy partial; 1 with strategy partial.
        rank: Rank of the correction that each layer learns. Only with strategy="lora". Default: 8.
        pull: Strength of the pull towards the first weights; 0: none. Only with strategy="l2-sp". Default:
            0.1.
        epochs: Maximum number of epochs while only the head is trained. Default: 100.
        lr: Learning rate of the head while only the head is trained. Default: 0.001 (sgd, nesterov: 0.01)
            (schedule-free-sgd: 0.1).
        weight_decay: Weight decay while only the head is trained (biases and norms excluded). Default: 0.03.
        patience: Epochs without a better monitored value before training ends, while only the head is
            trained; 0: never. Default: 20.
        batch_size: Items per step; auto: as many as a GPU holds, up to 256 and an eighth of the items. One
            of: "auto". Default: 32.
        optimizer: Optimizer. One of: "adam", "adamw", "sgd", "nesterov", "rmsprop", "schedule-free",
            "schedule-free-sgd". Default: adam.
        momentum: Momentum of the optimizer. Only with sgd, nesterov, rmsprop, schedule-free-sgd. Default: 0.9
            (rmsprop: 0).
        l1: Weight of the sum of absolute weights in the loss. Default: 0.
        label_smoothing: Share of each target that is spread over all classes. Default: 0.
        focal_gamma: Exponent of focal loss, such as 2: items that are answered surely count less; 0: alike.
            Default: 0.
        balance: Weight rare classes up, so that each class counts the same. Default: no.
        sampling: Items of an epoch: each once, or balanced: as many as there are, each class equally often.
            One of: "once", "balanced". Default: once.
        schedule: How the learning rate moves. One of: "constant", "cosine", "one-cycle", "plateau", "step".
            Default: constant.
        warmup: Share of the steps in which the learning rate rises. Default: 0; 0.3 with one-cycle.
        step_epochs: Epochs between two cuts of the learning rate. Only with schedule="step". Default: a third
            of those of the phase.
        step_factor: Factor of each cut. Only with schedule="step". Default: 0.1.
        ema: Measure and keep a moving average of the weights with this decay per step, such as 0.99; in the
            first steps it is less. Default: off.
        clip_norm: Clip gradients to this norm. Default: off.
        from_scratch: Begin with random weights: shows what the pretrained ones are worth. Default: no.
        tune_epochs: Maximum number of epochs once stages are unfrozen. Only with unfreeze. Default: 10;
            epochs if given, where everything trains at once; 50 from scratch.
        tune_lr: Learning rate of the head once stages are unfrozen. Only with unfreeze. Default: 0.0001 (sgd,
            nesterov: 0.001) (schedule-free-sgd: 0.01); lr if given, where everything trains at once; 0.003
            (sgd, nesterov: 0.03) (schedule-free-sgd: 0.3) for texts; 0.001 (sgd, nesterov: 0.01)
            (schedule-free-sgd: 0.1) from scratch.
        tune_weight_decay: Weight decay once stages are unfrozen (biases and norms excluded). Only with
            unfreeze. Default: 0.0001; weight_decay if given, where everything trains at once.
        tune_patience: Epochs without a better monitored value before training ends, once stages are unfrozen;
            0: never. Only with unfreeze. Default: 5; patience if given, where everything trains at once; 2
            with strategy gradual; patience from scratch; patience if that is less.
        accumulate: Parts in which the items of a step pass through the network, one after another: less
            memory, the same step. Only with unfreeze. Default: 1.
        lr_decay: Factor of the learning rate per stage further down. Only with unfreeze. Default: 0.7; 1 for
            texts; 1 from scratch; 1 with strategy norms, lora.
        min_delta: Smallest improvement that counts as better. Default: 0.
        monitor: Validation value that decides which epoch is the best. One of: "loss", "accuracy", "map",
            "f1", "exact", "mae", "rmse", "r2". Default: loss.
        views: Views of each training image, one of them plain: their features are computed once, and the head
            sees one of them in each epoch, drawn anew. Only for images and while the whole backbone stays
            frozen. Default: 1.
        augment: Random variation of the images while stages are trained, and of the views of a head. Only for
            images and with unfreeze or views. One of: "none", "light", "strong", "randaugment". Default:
            light; strong with views.
        erase: How probably a rectangle of an image is erased while stages are trained. Only for images and
            with unfreeze. Default: 0.
        mixup: Mix images of a batch, and their targets, while stages are trained, in shares from Beta(A, A),
            such as 0.2; 0: none. Only for images and with unfreeze. Default: 0.
        cutmix: The same with a rectangle of one image in another, such as 1; where mixup is given too, each
            batch gets one of both. Only for images and with unfreeze. Default: 0.
        workers: Threads that read images. Only for images. Default: one per core.
        encoder: How the words of a text become one vector. Only for texts. One of: "mean", "tfidf", "sif",
            "attention", "cnn", "gru", "lstm". Default: mean.
        encoder_width: Width inside a trained encoder: filters, or units per direction. Only for texts and
            with a trained encoder. Default: 100.
        new_words: How often an unknown word must occur in the training texts to get its own vector; 0: never.
            Only for texts and with unfreeze=2 or more. Default: 2.
        unknown: What to do with other unknown words; several in the order to try: fold+apostrophe+ngrams.
            ngrams and mean help words of the training texts only. Only for texts. Default:
            fold+apostrophe+hyphen.
        max_words: Words of a text that are read. Only for texts. Default: 1000.
        baseline: Measure TF-IDF with logistic regression on the same split, to compare with. Only for texts.
            Default: yes.
        val_fraction: Share of the items that is held out for validation if the data have no validation part.
            Default: 0.2.
        on_bad: What to do with unreadable files. Where more than 5 % of a class are unreadable, the run ends
            unless skip is given. One of: "skip", "stop". Default: skip.
        seed: Seed of every random choice. Default: 0.
        deterministic: Slower kernels that repeat bit for bit on a GPU too; a CPU always does. Default: no.
        device: Where to compute. Default: auto.
        shard: Divide weights, gradients and optimizer among the processes: for a network that does not fit
            while it trains. Only for images and with unfreeze. Default: no.
        compile: Compile the network by torch.compile while stages are trained: a minute or more at first,
            then faster steps; in one process. Only for images and with unfreeze. Default: no.
        precision: Number format of the backbone; auto: fp32, and half precision for deeper training on a GPU.
            With bf16 its features, and what is measured on them, are in bf16 too; predictions never are. One
            of: "auto", "fp32", "bf16", "fp16". Default: auto.
        backend: What computes the features of a frozen backbone in fp32 on a CPU; auto: ONNX Runtime for
            1,000 images or more where the extra [onnx] is installed and it agrees. Only for images. One of:
            "auto", "torch", "onnx". Default: auto.
    """

    head: str | None = None
    hidden: tuple[int, ...] | None = None
    activation: str | None = None
    dropout: float | None = None
    batch_norm: bool | None = None
    standardize: bool | None = None
    strategy: str | None = None
    unfreeze: int | str | None = None
    rank: int | None = None
    pull: float | None = None
    epochs: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    patience: int | None = None
    batch_size: int | str | None = None
    optimizer: str | None = None
    momentum: float | None = None
    l1: float | None = None
    label_smoothing: float | None = None
    focal_gamma: float | None = None
    balance: bool | None = None
    sampling: str | None = None
    schedule: str | None = None
    warmup: float | None = None
    step_epochs: int | None = None
    step_factor: float | None = None
    ema: float | None = None
    clip_norm: float | None = None
    from_scratch: bool | None = None
    tune_epochs: int | None = None
    tune_lr: float | None = None
    tune_weight_decay: float | None = None
    tune_patience: int | None = None
    accumulate: int | None = None
    lr_decay: float | None = None
    min_delta: float | None = None
    monitor: str | None = None
    views: int | None = None
    augment: str | None = None
    erase: float | None = None
    mixup: float | None = None
    cutmix: float | None = None
    workers: int | None = None
    encoder: str | None = None
    encoder_width: int | None = None
    new_words: int | None = None
    unknown: str | None = None
    max_words: int | None = None
    baseline: bool | None = None
    val_fraction: float | None = None
    on_bad: str | None = None
    seed: int | None = None
    deterministic: bool | None = None
    device: str | None = None
    shard: bool | None = None
    compile: bool | None = None
    precision: str | None = None
    backend: str | None = None


class Resolved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe with a value for every knob; made by `resolve`. None means off, or chosen by the machine."""

    head: str
    hidden: tuple[int, ...]
    activation: str
    dropout: float
    batch_norm: bool
    standardize: bool
    strategy: str
    unfreeze: int | str
    rank: int
    pull: float
    epochs: int
    lr: float
    weight_decay: float
    patience: int
    batch_size: int | str
    optimizer: str
    momentum: float
    l1: float
    label_smoothing: float
    focal_gamma: float
    balance: bool
    sampling: str
    schedule: str
    warmup: float
    step_epochs: int | None
    step_factor: float
    ema: float | None
    clip_norm: float | None
    from_scratch: bool
    tune_epochs: int
    tune_lr: float
    tune_weight_decay: float
    tune_patience: int
    accumulate: int
    lr_decay: float
    min_delta: float
    monitor: str
    views: int
    augment: str
    erase: float
    mixup: float
    cutmix: float
    workers: int | None
    encoder: str
    encoder_width: int
    new_words: int
    unknown: str
    max_words: int
    baseline: bool
    val_fraction: float
    on_bad: str
    seed: int
    deterministic: bool
    device: str
    shard: bool
    compile: bool
    precision: str
    backend: str


class RecipeOptions(TypedDict, total=False):
    """The keyword arguments of `finetune_model` that are fields of a Recipe; None means not given."""

    head: Literal["linear", "mlp", "cosine", "nearest-mean", "auto"] | None
    hidden: Sequence[int] | None
    activation: Literal["relu", "elu", "tanh", "logistic"] | None
    dropout: float | None
    batch_norm: bool | None
    standardize: bool | None
    strategy: Literal["head", "partial", "full", "lp-ft", "norms", "l2-sp", "lora", "gradual", "auto"] | None
    unfreeze: int | str | None
    rank: int | None
    pull: float | None
    epochs: int | None
    lr: float | None
    weight_decay: float | None
    patience: int | None
    batch_size: int | str | None
    optimizer: (
        Literal["adam", "adamw", "sgd", "nesterov", "rmsprop", "schedule-free", "schedule-free-sgd"] | None
    )
    momentum: float | None
    l1: float | None
    label_smoothing: float | None
    focal_gamma: float | None
    balance: bool | None
    sampling: Literal["once", "balanced"] | None
    schedule: Literal["constant", "cosine", "one-cycle", "plateau", "step"] | None
    warmup: float | None
    step_epochs: int | None
    step_factor: float | None
    ema: float | None
    clip_norm: float | None
    from_scratch: bool | None
    tune_epochs: int | None
    tune_lr: float | None
    tune_weight_decay: float | None
    tune_patience: int | None
    accumulate: int | None
    lr_decay: float | None
    min_delta: float | None
    monitor: Literal["loss", "accuracy", "map", "f1", "exact", "mae", "rmse", "r2"] | None
    views: int | None
    augment: Literal["none", "light", "strong", "randaugment"] | None
    erase: float | None
    mixup: float | None
    cutmix: float | None
    workers: int | None
    encoder: Literal["mean", "tfidf", "sif", "attention", "cnn", "gru", "lstm"] | None
    encoder_width: int | None
    new_words: int | None
    unknown: str | None
    max_words: int | None
    baseline: bool | None
    val_fraction: float | None
    on_bad: Literal["skip", "stop"] | None
    seed: int | None
    deterministic: bool | None
    device: str | None
    shard: bool | None
    compile: bool | None
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None
    backend: Literal["auto", "torch", "onnx"] | None
