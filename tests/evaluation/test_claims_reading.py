from pathlib import Path

import pytest

import qarmor
from qarmor.evaluation import read

SHIPPED = (Path(qarmor.__file__).parent / "studies" / "claims.toml").read_text()
HEAD = '[variants.tuned]\n[variants.linear]\nqvc200 = "linear"\n[[claims]]\nid = "1"\ntext = "a claim"\nvariants = ["tuned"]\n'


def test_the_shipped_claims():
    claims = {claim.id: claim for claim in read(SHIPPED).claims}
    assert {name.split(".")[0] for name in claims} == {str(i) for i in range(1, 15)}
    again = {f"6.{i}-{attack}" for i in range(1, 6) for attack in ("fgsm", "autoattack")}
    assert set(claims) == {str(i) for i in range(1, 15) if i != 6} | again
    controls = {"1", "4", "5", "8", "9"} | {f"6.{i}-{attack}" for i in (1, 4, 5) for attack in ("fgsm", "autoattack")}
    for name, claim in claims.items():
        wanted = {"paper"} if name == "12" else {"tuned", "paper", "linear", "quadratic"} if name in controls else {"tuned", "paper"}
        assert set(claim.variants) == wanted, name
        assert claim.images == (2000 if name in {"3", "7", "8", "9", "10", "11"} else 0), name
        assert claim.paper == "holds"
        assert "{" not in claim.text
    assert [str(c) for c in claims["6.4-fgsm"].criteria] == [
        "accuracy(convnet -> qvc200, fgsm, 0.2) - accuracy(convnet -> resnet18, fgsm, 0.2) > 0.2"
    ]
    assert "FGSM" in claims["6.4-fgsm"].text
    assert "PGD" in claims["4"].text
    assert len(claims["1"].criteria) == 2
    assert len(claims["8"].criteria) == 6 * 3 + 1


def test_names_of_the_shipped_claims():
    claims = read(SHIPPED)
    bases = {"convnet", "resnet18", "qvc200", "qvc500", "qvc1000"}
    attacks = {"pgd", "fgsm", "autoattack", "mixed", "global-depolarising", "bit-flip", "amplitude-damping", ""}
    for claim in claims.claims:
        for quantity in (q for c in claim.criteria for q in c.quantities):
            assert {quantity.source.partition("-adv")[0], quantity.target.partition("-adv")[0]} <= bases | {""}
            assert quantity.attack in attacks
    assert claims.variants == {
        "tuned": {},
        "paper": {name: f"{name}-paper" for name in ("qvc200", "qvc500", "qvc1000")},
        "linear": {"qvc200": "linear"},
        "quadratic": {"qvc200": "quadratic"},
    }


@pytest.mark.parametrize(
    ("more", "criteria", "message"),
    [
        ("", '["clean(a) <= 1"]', r"^claims\[0\].criteria\[0\]: expected '< number'.* at '<= 1'"),
        ("", '["clean(a) < 1", "tidy(a) < 1"]', r"^claims\[0\].criteria\[1\]: unknown quantity 'tidy'"),
        ("", "[]", r"^claims\[0\].criteria is empty; a claim needs one or more"),
        ("", "[3]", r"^claims\[0\].criteria\[0\] must be a string with something in it, got 3"),
        ("", '"clean(a) < 1"', r"^claims\[0\].criteria must be a list, got 'clean\(a\) < 1'"),
        ("", '["clean(a) < 1", "clean(a) < 1"]', r"^claims\[0\].criteria holds an entry twice"),
        ("", '["accuracy(a -> a, {attack}, 0.1) < 1"]', r"^claims\[0\].criteria\[0\] has {x} or {attack}, which the claim doesn't give"),
        ("", '["clean(a-adv{x}) < 1"]', r"^claims\[0\].criteria\[0\] has {x} or {attack}, which the claim doesn't give"),
        ("x = [0.1]", '["clean(a) < 1"]', r"^claims\[0\].x: no criterion has {x}; drop x"),
        ('x = ["0.1"]', '["clean(a-adv{x}) < 1"]', r"^claims\[0\].x\[0\] must be a number, got '0.1'"),
        ("weight = 3", '["clean(a) < 1"]', r"^claims\[0\].weight: unknown key; there are id, text, attack, x, criteria"),
        ('images = "many"', '["clean(a) < 1"]', r"^claims\[0\].images must be a whole number, got 'many'"),
        ("images = true", '["clean(a) < 1"]', r"^claims\[0\].images must be a whole number, got True"),
        ("images = -1", '["clean(a) < 1"]', r"^claims\[0\].images must not be negative, got -1"),
        ('paper = "maybe"', '["clean(a) < 1"]', r"^claims\[0\].paper must be 'holds' or 'fails', got 'maybe'"),
        ('attack = "pgd"', '["clean(a) < 1"]', r"^claims\[0\].attack: 'pgd' is not declared; there are"),
        ('datasets = ["mnist", ""]', '["clean(a) < 1"]', r"^claims\[0\].datasets\[1\] must be a string with something in it"),
    ],
)
def test_claims_are_read_strictly(more, criteria, message):
    with pytest.raises(ValueError, match=message):
        read(HEAD + more + f"\ncriteria = {criteria}")


CLAIM = '[[claims]]\nid = "1"\ntext = "t"\nvariants = ["tuned"]\ncriteria = ["clean(a) < 1"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "^claims are not TOML: "),
        ("[variants.tuned]", "^claims is missing; give it"),
        (CLAIM, "^variants is missing; give it"),
        ("colour = 3\n[variants.tuned]\n" + CLAIM, "^colour: unknown key; there are attacks, variants, claims, again"),
        ("[variants]\ntuned = 3\n" + CLAIM, "^variants.tuned must be a table, got 3"),
        ("[variants.tuned]\nqvc200 = 3\n" + CLAIM, "^variants.tuned.qvc200 must be a string, got 3"),
        ("claims = [3]\n[variants.tuned]", r"^claims\[0\] must be a table, got 3"),
        ("[variants.paper]\n" + CLAIM, r"^claims\[0\].variants: 'tuned' is not declared; there are paper"),
        ("[variants.tuned]\n" + CLAIM.replace('["tuned"]', "[]"), r"^claims\[0\].variants is empty; a claim is judged in one or more"),
        ("[variants.tuned]\n" + CLAIM.replace('"1"', '"one"'), r"^claims\[0\].id must begin with a number, got 'one'"),
        ("[variants.tuned]\n" + CLAIM.replace('text = "t"\n', ""), r"^claims\[0\].text is missing; give it"),
        ("[variants.tuned]\n" + CLAIM + CLAIM, "^claims: the id '1' occurs twice; give each its own"),
        (
            '[attacks]\nfgsm = "FGSM"\n[variants.tuned]\n' + CLAIM + '[[again]]\nid = "6.{id}"\nclaims = ["2"]\nattacks = ["fgsm"]',
            r"^again\[0\].claims: '2' is not declared; there are 1",
        ),
        (
            '[variants.tuned]\n[attacks]\npgd = "PGD"\n' + CLAIM + '[[again]]\nid = "6.{id}"\nclaims = ["1"]\nattacks = ["fgsm"]',
            r"^again\[0\].attacks: 'fgsm' is not declared; there are pgd",
        ),
        (
            '[attacks]\nfgsm = "FGSM"\n[variants.tuned]\n' + CLAIM + '[[again]]\nid = "6.{id}"\nclaims = ["1"]\nattacks = ["fgsm"]',
            r"^claims\[0\].attack is missing, but the claim stands again under 'fgsm'; give its own attack",
        ),
        (
            '[attacks]\nfgsm = "F"\n[variants.tuned]\n' + CLAIM + 'attack = "fgsm"\n[[again]]\nid = "six"\nclaims = ["1"]\nattacks = ["fgsm"]',
            r"^again\[0\].id must begin with a number, got 'six'",
        ),
    ],
)
def test_the_file_is_read_strictly(text, message):
    with pytest.raises(ValueError, match=message):
        read(text)
