"""Recipes from JSON: a document is a recipe, its title, its ingredients, its numbered steps."""

import html
import json
import re

from ..documents import split
from ..text import decode, tidy


def recipe(files):
    ((name, content),) = files.items()
    documents = []
    for key, recipe in json.loads(decode(name, content)).items():
        title = recipe["title"].removeprefix("Cookbook:")
        ingredients = [line for item in recipe["ingredients"] for line in wiki_lines(item)]
        steps = [line for item in recipe["steps"] for line in wiki_lines(item)]
        text = "\n".join(
            [title, "", "Ingredients:", *(f"- {line}" for line in ingredients), "", "Method:"]
            + [f"{n}. {line}" for n, line in enumerate(steps, 1)]
        )
        if ingredients and steps and not LEFTOVER.search(text):
            documents.append((key, tidy(text)))
    return split(documents, seed="recipes")


# What tells that a page was not read well: markup, an address, a template whose value is lost ("preheat the oven to.").
LEFTOVER = re.compile(
    r"\[\[|\]\]|\{[{|]|[|}]\}|</?[a-z]+[ >]|https?:|\|"
    r"|\b([Hh]eat|[Pp]reheat|[Rr]aise|[Cc]ook|[Bb]ake|[Ff]ry|[Ss]et|oven|fryer)\b[^.\n]*\b(to|at)[,.](?!\S)|\bregisters,"
)


def wiki_lines(item):
    """The lines of one ingredient or step, without wiki markup, bullets and what a lost template leaves behind."""
    text = html.unescape(item)
    text = re.sub(r"<ref\b[^>]*/>|<ref\b.*?</ref>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"</?(br|p|div|li|ul|ol)\b[^>]*>|<br", "\n", text)
    text = re.sub(r"</?(i|b|u|em|strong|small|big|sup|sub|span|nowiki|section|s)\b[^>]*>", "", text)
    text = re.sub(r"'{2,}", "", text)
    text = text.replace("˚", "°").replace("º", "°").replace("\u00a0", " ")
    text = re.sub(r"\(\s*[/,;]?\s*\)", "", text)  # "1 package () mushrooms": the weight was in a template
    text = re.sub(r"\s*/\s*\)", ")", text)
    text = re.sub(r"\(\s*[/,;]\s*", "(", text)
    text = re.sub(r"[^\S\n]+", " ", text)
    text = re.sub(r" +([,.;:)])", r"\1", text)
    lines = (line.strip().lstrip("*#•:- ").strip() for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("Category:")]
