"""Training: recipes, and the loop that follows them."""

from qarmor.training.fit import History, Progress, TrainingError, fit
from qarmor.training.recipe import Adversarial, Recipe
from qarmor.training.recipes import recipe_for

__all__ = ["Adversarial", "History", "Progress", "Recipe", "TrainingError", "fit", "recipe_for"]
