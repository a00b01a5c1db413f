"""What each `nanogpt` command does: a dataclass whose fields are its options, and `run`."""

from .converting import Export, Import
from .looking import Eval, Info
from .talking import Chat, Sample
from .teaching import Learn, Train

__all__ = ["Chat", "Eval", "Export", "Import", "Info", "Learn", "Sample", "Train"]
