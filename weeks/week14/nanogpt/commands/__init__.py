"""The commands of `nanogpt`: a row here, and a file whose dataclass holds the options and `run`."""

# name -> (module, class, what it is for); a module is loaded when its command is asked for
COMMANDS = {
    "train": ("train", "Train", "train a model from scratch on a text file"),
    "learn": ("learn", "Learn", "teach a model one more kind of text or one more task, without losing the old ones"),
    "undo": ("undo", "Undo", "go back to what a model was before its last task"),
    "sample": ("sample", "Sample", "let a model continue or answer a prompt"),
    "chat": ("chat", "Chat", "talk to a model, line by line"),
    "eval": ("eval", "Eval", "bits per byte of any text, or exact answers to a file of rows"),
    "info": ("info", "Info", "what a model is, what it was taught, what it forgot"),
    "import": ("import_", "Import", "bring in a published model: a Hugging Face folder (GPT-2, Llama) or a GGUF file"),
    "export": ("export", "Export", "write a model as a folder that transformers loads"),
}
