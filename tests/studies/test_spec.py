"""Studies as TOML: what cannot be is refused in one line with the path of its key, and presets merge as they say."""

import pytest

from qarmor.studies import presets, spec
from qarmor.studies.spec import SpecError

STUDY = """
title = "t"
images = { few = 5 }
eps = { grid = [0.1, 0.2] }
[datasets.d]
[networks.linear]
[attacks.fgsm]
[sections.s]
kind = "transfer"
title = "s"
sources = ["linear"]
targets = ["linear"]
attacks = ["fgsm"]
eps = "grid"
images = "few"
"""
SHOWN = '[sections.p]\nkind = "perturbations"\ntitle = "p"\nsources = ["linear"]\nattacks = ["fgsm"]\n'
CURVES = '[sections.p]\nkind = "probabilities"\ntitle = "p"\nnetworks = ["linear"]\n'


def refused(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        spec.parse(text, "x.toml")
    message = str(caught.value)
    assert message.startswith("x.toml: ")
    assert "\n" not in message
    return message.removeprefix("x.toml: ")


def changed(old: str, new: str) -> str:
    assert STUDY.count(old) == 1
    return STUDY.replace(old, new)


def test_the_study_of_these_tests_is_one():
    study = spec.parse(STUDY)
    assert (study.threads, study.seeds, study.image_seed, study.device) == (1, [0], 0, "cpu")
    assert (study.grid("grid"), study.grid([0.3]), study.count("few"), study.count(7), study.count(None)) == ([0.1, 0.2], [0.3], 5, 7, None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("threds = 2", "threds: unknown key"),
        ("threads = 0", "threads: input should be greater than or equal to 1, got 0"),
        ("threads = true", "threads: input should be a valid integer, got True"),
        ("threads = 1.0", "threads: input should be a valid integer, got 1.0"),
        ('threads = "2"', "threads: input should be a valid integer, got '2'"),
        ("train = 0", "train: input should be greater than or equal to 1, got 0"),
        ("claims = 1", "claims: input should be a valid boolean, got 1"),
        ("note = 3", "note: input should be a valid string, got 3"),
        ("seeds = 1", "seeds: input should be a valid list, got 1"),
        ("seeds = []", "seeds: list should have at least 1 item"),
        ("seeds = [0, -1]", "seeds.1: input should be greater than or equal to 0, got -1"),
        ("seeds = [2147483648]", "seeds.0: input should be less than 2147483648"),
        ("seeds = [1, 2, 1]", "seeds: has a seed twice, got [1, 2, 1]"),
        ("image_seed = -1", "image_seed: input should be greater than or equal to 0"),
        ("cluster = 3", "cluster: "),
        ('cluster = { kind = "slrm", workers = 1 }', "cluster.kind: input should be 'slurm'"),
        ('cluster = { kind = "slurm" }', "cluster.workers: is missing"),
        ('cluster = { kind = "slurm", workers = 0 }', "cluster.workers: input should be greater than or equal to 1"),
    ],
)
def test_top_keys(line, message):
    assert refused(f"{line}{STUDY}").startswith(message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "t"\n', "", "title: is missing"),
        ('title = "t"', "title = 3", "title: input should be a valid string, got 3"),
        ("few = 5", "few = 0", "images.few: input should be greater than or equal to 1, got 0"),
        ("few = 5", 'few = "all"', "images.few: input should be a valid integer, got 'all'"),
        ("few = 5", "few = 5.5", "images.few: input should be a valid integer, got 5.5"),
        ("[0.1, 0.2]", "[0.2, 0.1]", "eps.grid: must rise strictly, got [0.2, 0.1]"),
        ("[0.1, 0.2]", "[0.1, 0.1]", "eps.grid: must rise strictly, got [0.1, 0.1]"),
        ("[0.1, 0.2]", "[]", "eps.grid: is empty; give one value or more"),
        ("[0.1, 0.2]", "[0.1, 1.2]", "eps.grid.1: input should be less than or equal to 1, got 1.2"),
        ("[0.1, 0.2]", "[-0.1]", "eps.grid.0: input should be greater than or equal to 0, got -0.1"),
        ("[0.1, 0.2]", "[nan]", "eps.grid.0: "),
        ("[0.1, 0.2]", '["0.1"]', "eps.grid.0: input should be a valid number, got '0.1'"),
        ("[datasets.d]\n", "", "datasets: is missing"),
        ("[datasets.d]\n", "[datasets]\n", "datasets: dictionary should have at least 1 item"),
        ("[datasets.d]", '[datasets."a/b"]', "datasets.a/b: string should match pattern"),
        ("[datasets.d]", '[datasets.""]', "datasets.: string should have at least 1 character"),
        ("[sections.s]", "[section.s]", "sections: is missing (and 1 more)"),
        ('kind = "transfer"', 'kind = "teleport"', "sections.s: input tag 'teleport'"),
        ('kind = "transfer"\n', "", "sections.s: unable to extract tag"),
        ('title = "s"\n', "", "sections.s.title: is missing"),
        ('images = "few"', "", "sections.s.images: is missing"),
        ('images = "few"', "images = 0", "sections.s.images: input should be greater than or equal to 1, got 0"),
        ('images = "few"', "images = 2.5", "sections.s.images: input should be a valid string or a valid integer, got 2.5"),
        ('images = "few"', 'images = "many"', "sections.s.images: there is no images.many; there are few"),
        ('images = "few"', 'images = "few"\nimage = 3', "sections.s.image: unknown key"),
        ('images = "few"', 'images = "few"\ndatasets = ["e"]', "sections.s.datasets: there is no data set 'e'; there are d"),
        ('images = "few"', 'images = "few"\ndatasets = []', "sections.s.datasets: list should have at least 1 item"),
        ('images = "few"', 'images = "few"\npaper = [{ value = 1, n = 0 }]', "sections.s.paper.0.n: input should be greater"),
        ('images = "few"', 'images = "few"\npaper = [{ n = 10 }]', "sections.s.paper.0.value: is missing"),
        ('eps = "grid"', 'eps = "grind"', "sections.s.eps: there is no table eps.grind; there are grid"),
        ('eps = "grid"', "eps = [0.3, 0.2]", "sections.s.eps: must rise strictly, got [0.3, 0.2]"),
        ('eps = "grid"', "eps = []", "sections.s.eps: is empty"),
        ('eps = "grid"', "eps = [2.0]", "sections.s.eps.0: input should be less than or equal to 1, got 2.0"),
        ('targets = ["linear"]', "targets = []", "sections.s.targets: list should have at least 1 item"),
        ('targets = ["linear"]', 'targets = "linear"', "sections.s.targets: input should be a valid list, got 'linear'"),
        ('targets = ["linear"]', 'targets = ["lineer"]', "sections.s.targets: there is no network 'lineer'; there are linear"),
        ('sources = ["linear"]', 'sources = ["linear", "c"]', "sections.s.sources: there is no network 'c'; there are linear"),
        ('attacks = ["fgsm"]', 'attacks = ["pgd"]', "sections.s.attacks: there is no attack 'pgd'; there are fgsm"),
    ],
)
def test_tables_and_sections(old, new, message):
    assert refused(changed(old, new)).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epoch = 1", "epoch: unknown key"),
        ("epochs = 0", "epochs: input should be greater than or equal to 1, got 0"),
        ('epochs = "all"', "epochs: input should be a valid integer or a valid dictionary, got 'all'"),
        ("epochs = { d = 0 }", "epochs.d: input should be greater than or equal to 1, got 0"),
        ("epochs = { mnist = 2, default = 1 }", "epochs: there is no data set 'mnist'; there are d"),
        ("batch_size = 0", "batch_size: input should be greater than or equal to 1"),
        ("lr = 0", "lr: input should be greater than 0, got 0"),
        ("lr = nan", "lr: input should be greater than 0"),
        ('schedule = "step"', "schedule: input should be 'constant' or 'cosine', got 'step'"),
        ("options = 3", "options: input should be a valid dictionary, got 3"),
        ('datasets = ["mnist"]', "datasets: there is no data set 'mnist'; there are d"),
        ("datasets = []", "datasets: list should have at least 1 item"),
        ('adversarial = "fgsm"', "adversarial: "),
        ('adversarial = { attack = "pgd", eps = 0.1 }', "adversarial.attack: there is no attack 'pgd'; there are fgsm"),
        ('adversarial = { attack = "fgsm" }', "adversarial.eps: is missing"),
        ('adversarial = { attack = "fgsm", eps = 2 }', "adversarial.eps: input should be less than or equal to 1, got 2"),
        ('adversarial = { attack = "fgsm", eps = 0.1, fraction = 0 }', "adversarial.fraction: input should be greater than 0"),
        ('adversarial = { attack = "fgsm", eps = 0.1, fraction = 1.5 }', "adversarial.fraction: input should be less than or equal to 1"),
        ('model = "m:f"\nlr = 1e-3', "model: a ready-made network is not trained; remove 'lr' or model"),
        ('model = "m:f"\nnetwork = "linear"', "model: a ready-made network is not trained; remove 'network' or model"),
        ('model = "m:f"\noptions = { a = 1 }', "model: a ready-made network is not trained; remove 'options' or model"),
    ],
)
def test_networks(line, message):
    assert refused(changed("[networks.linear]\n", f"[networks.linear]\n{line}\n")).startswith(f"networks.linear.{message}")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("[presets.fast]", "presets.fast: input should be 'smoke', 'quick' or 'full', got 'fast'"),
        ("[presets.quick]\nepoch = 1", "presets.quick.epoch: unknown key"),
        ("[presets.quick]\nepochs = 0", "presets.quick.epochs: input should be greater than or equal to 1, got 0"),
        ("[presets.quick]\nepochs = { none = 1 }", "presets.quick.epochs: there is no network 'none'; there are linear"),
        ("[presets.quick]\nepochs = { linear = 0 }", "presets.quick.epochs.linear: input should be greater than or equal to 1, got 0"),
        ("[presets.quick]\nepochs = { linear = { e = 1 } }", "presets.quick.epochs.linear: there is no data set 'e'; there are d"),
        ("[presets.quick]\nepochs = { linear = { d = 0 } }", "presets.quick.epochs.linear.d: input should be greater than or equal to 1, got 0"),
        ("[presets.quick]\nseeds = []", "presets.quick.seeds: needs one seed or more"),
        ("[presets.quick]\nseeds = [3, 3]", "presets.quick.seeds: has a seed twice, got [3, 3]"),
        ("[presets.quick]\ntrain = 0", "presets.quick.train: input should be greater than or equal to 1"),
        ("[presets.quick]\nimages = { few = 0 }", "presets.quick.images.few: input should be greater than or equal to 1"),
        ("[presets.quick]\nimages = { fwe = 3 }", "presets.quick.images: there is no number of images 'fwe'; there are few"),
        ("[presets.quick]\neps = { gird = [0.1] }", "presets.quick.eps: there is no eps grid 'gird'; there are grid"),
        ("[presets.quick]\neps = { grid = [0.3, 0.1] }", "presets.quick.eps.grid: must rise strictly, got [0.3, 0.1]"),
        ("[presets.full]\neps = { grid = [] }", "presets.full.eps.grid: is empty"),
        ("[attacks.other]\nattack = 3", "attacks.other.attack: input should be a valid string, got 3"),
        ("[datasets.other]\nsource = 3", "datasets.other.source: input should be a valid string, got 3"),
        ("[datasets.other]\nsources = 'a'", "datasets.other.sources: unknown key"),
        (f"{SHOWN}eps = 0.1\nimages = 3\nshown = 0", "sections.p.shown: input should be greater than or equal to 1, got 0"),
        (f"{SHOWN}eps = 0.1\nimages = 3\nshown = 21", "sections.p.shown: input should be less than or equal to 20, got 21"),
        (f"{SHOWN}eps = [0.1]\nimages = 3", "sections.p.eps: input should be a valid number"),
        (f"{SHOWN}eps = 0.1\nimages = 'many'", "sections.p.images: there is no images.many"),
        (f"{CURVES}attack = 'pgd'\neps = 'grid'\nimages = 3", "sections.p.attack: there is no attack 'pgd'; there are fgsm"),
        (f"{CURVES}attack = 'fgsm'\neps = 'fine'\nimages = 3", "sections.p.eps: there is no table eps.fine; there are grid"),
        ("[sections.p]\nkind = 'clean'\ntitle = 'p'\nnetworks = ['x']", "sections.p.networks: there is no network 'x'; there are linear"),
        ("[sections.p]\nkind = 'training'\ntitle = 'p'\nnetworks = ['x']", "sections.p.networks: there is no network 'x'"),
        ("[sections.p]\nkind = 'resources'\ntitle = 'p'\nnetworks = []", "sections.p.networks: list should have at least 1 item"),
        ("[sections.p]\nkind = 'missing'\ntitle = 'p'", "sections.p.reason: is missing"),
        ("[sections.p]\nkind = 'missing'\ntitle = 'p'\nreason = 'r'\nnetworks = ['linear']", "sections.p.networks: unknown key"),
    ],
)
def test_what_stands_further_below(more, message):
    assert refused(f"{STUDY}\n{more}\n").startswith(message)


def test_a_key_that_is_named_as_a_kind_keeps_its_place_in_the_path():
    text = STUDY.replace("[sections.s]", "[sections.transfer]") + "transfer = 1\n"
    assert refused(text).startswith("sections.transfer.transfer: unknown key")


def test_not_toml():
    assert refused("a = = 1").startswith("not TOML: ")
    assert "line 3" in refused("a = 1\nb = 2\nc\n")
    assert refused("").startswith("title: is missing (and 2 more)")


def test_files(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(STUDY)
    assert spec.read(str(path)) == spec.parse(STUDY)
    path.write_bytes('title = "é"'.encode("latin-1"))
    with pytest.raises(SpecError, match=r"own\.toml: not UTF-8 text") as caught:
        spec.read(str(path))
    assert "\n" not in str(caught.value)
    path.write_text("title = 3")
    with pytest.raises(SpecError, match=r"own\.toml: title: "):
        spec.read(str(path))


@pytest.mark.parametrize("name", ["west2032", "", "claims", "digits.toml"])
def test_unknown_studies(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"no study '{name}': neither a file nor one of digits, west2023"):
        spec.read(name)


MERGED = (
    STUDY
    + """
[presets.smoke]
epochs = 2
train = 9
images = { few = 3 }
eps = { grid = [0.3] }
seeds = [4, 5]
[presets.quick]
epochs = { c = 7, b = { d = 6, default = 8 } }
[presets.full]
"""
).replace(
    "[networks.linear]",
    """[datasets.e]
[networks.linear]
epochs = 3
[networks.b]
network = "linear"
epochs = { d = 4 }
[networks.c]
network = "linear"
[networks.ready]
model = "some.module:factory"
""",
)


def epochs(study, dataset):
    return [network.epochs_on(dataset) for network in study.networks.values()]


def test_without_a_preset_epochs_are_the_study_s():
    study = spec.parse(MERGED)
    assert epochs(study, "d") == [3, 4, None, None]
    assert epochs(study, "e") == [3, None, None, None]


def test_epochs_for_all_go_to_every_network_that_is_trained():
    study = presets.resolve(spec.parse(MERGED), "smoke")
    assert epochs(study, "d") == epochs(study, "e") == [2, 2, 2, None]


def test_epochs_by_network_and_by_data_set_leave_the_others():
    study = presets.resolve(spec.parse(MERGED), "quick")
    assert epochs(study, "d") == [3, 6, 7, None]
    assert epochs(study, "e") == [3, 8, 7, None]


def test_the_rest_of_a_preset_and_nothing_else_changes():
    plain = spec.parse(MERGED)
    smoke = presets.resolve(plain, "smoke")
    assert (smoke.images, smoke.eps, smoke.seeds, smoke.train) == ({"few": 3}, {"grid": [0.3]}, [4, 5], 9)
    assert smoke.model_copy(update={k: getattr(plain, k) for k in ("images", "eps", "seeds", "train", "networks")}) == plain
    assert presets.resolve(plain, "full") == plain


def test_a_preset_keeps_tables_that_it_does_not_name():
    text = MERGED.replace("{ few = 5 }", "{ few = 5, many = 50 }").replace("{ grid = [0.1, 0.2] }", "{ grid = [0.1, 0.2], fine = [0.5] }")
    smoke = presets.resolve(spec.parse(text), "smoke")
    assert (smoke.images, smoke.eps) == ({"few": 3, "many": 50}, {"grid": [0.3], "fine": [0.5]})


def test_which_preset():
    study = spec.parse(MERGED)
    assert presets.resolve(study, None) == presets.resolve(study, "quick")
    plain = spec.parse(STUDY)
    assert presets.resolve(plain, None) == plain
    with pytest.raises(SpecError, match="own: it has no preset 'full'; it has none"):
        presets.resolve(plain, "full", "own")
    with pytest.raises(SpecError, match="it has no preset 'fast'; it has smoke, quick, full"):
        presets.resolve(study, "fast")


def test_declared_studies_are_studies_with_each_of_their_presets():
    assert {"digits", "west2023"} <= set(spec.declared())
    for name in spec.declared():
        study = spec.read(name)
        for preset in (None, *study.presets):
            resolved = presets.resolve(study, preset)
            # what a folder keeps of it is the same study
            assert spec.Study.model_validate(resolved.model_dump(mode="json")) == resolved


def test_west2023_has_the_data_sets_networks_and_presets_of_the_paper():
    study = spec.read("west2023")
    assert list(study.datasets) == ["mnist", "fashion-mnist", "cifar2", "celeba"]
    assert {"convnet", "resnet18", "qvc200", "qvc500", "qvc1000", "linear", "quadratic"} <= set(study.networks)
    assert set(study.presets) == set(spec.PRESETS)
    assert study.claims
    quick = presets.resolve(study, None)
    assert quick.eps["figure"] == study.presets["quick"].eps["figure"] != study.eps["figure"]
