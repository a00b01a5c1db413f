"""`nanogpt info`: what a model is, what it was taught, what it forgot."""

from dataclasses import dataclass

from .options import MODEL, Model


@dataclass
class Info:
    """What a model is, what it was taught, and what it forgot.

    examples:
      nanogpt info
      nanogpt info --model smollm2-135m
    """

    model: Model = MODEL

    def run(self):
        from ..sources import open_model  # in here, for torch takes a second and --help does not need it
        from ..vendor.continual.weights import nbytes
        from ..workspace.store import course_of, open_course
        from .learn import matrix_table

        course = open_course(self.model) if course_of(self.model) else None
        loaded = course.loaded if course else open_model(self.model)
        net, config = loaded.model, loaded.model.config
        print(f"{self.model}: {net.n_params():,} parameters")
        print("  " + ", ".join(f"{name} {value}" for name, value in config.to_dict().items()))
        print(f"  {net.cache_bytes_per_token():,} bytes of keys and values for each token of context")
        print(f"  {net.flops_per_token() / 1e6:.1f} MFLOP to train all of it on a token, at the full context")
        if loaded.base:
            learned = sum(p.numel() for p in net.parameters() if p.requires_grad)
            print(f"  {learned:,} of the parameters are an adapter on {loaded.base['model']}")
        if loaded.chat:
            print("  it has a chat template")
        if loaded.sample:
            print("  drawn from with " + ", ".join(f"{name} {value}" for name, value in loaded.sample.items()))
        if not course:
            return
        settings = ", ".join(f"{name} {value}" for name, value in vars(course.method.config).items())
        print(f"  taught with {course.method_name}{f' ({settings})' if settings else ''}")
        if memory := getattr(course.method, "memory", None):
            print(f"  {len(memory)} rows kept: {memory.counts()}")
        if kept := nbytes(course.method.state()):
            print(f"  {kept:,} bytes beside the model are what the method remembers")
        if course.progress:
            begun = course.progress
            print(f"  stopped at step {begun['step']} of learning {begun['task']}; the same `nanogpt train`", end="")
            print(" or `nanogpt learn` as then goes on, with --resume")
        if course.scores:
            print(matrix_table(course))
