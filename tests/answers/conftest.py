"""The runs of this room are those of tests/runs."""

from runs.conftest import few as few
from runs.conftest import finetune as finetune
from runs.conftest import kit as kit
from runs.conftest import shared_store as shared_store
from runs.conftest import told as told
from runs.conftest import train_once as train_once
from runs.conftest import trained as trained
