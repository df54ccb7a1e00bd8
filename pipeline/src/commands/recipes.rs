//! `recipes`: the published runs and the small ones.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Format, RecipesArgs};
use crate::config::recipes::{RECIPES, Recipe, SMALL_RECIPES, SmallRecipe};

/// Runs the command.
pub fn recipes(arguments: &RecipesArgs) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match arguments.format {
        Format::Json => {
            let published = RECIPES.iter().map(serde_json::to_value);
            let all: Vec<_> = published.chain(SMALL_RECIPES.iter().map(json)).collect::<Result<_, _>>()?;
            writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        }
        Format::Text => {
            for (number, recipe) in RECIPES.iter().enumerate() {
                write!(out, "{}{}", if number > 0 { "\n" } else { "" }, text(recipe)?)?;
            }
            for SmallRecipe { name, about, options } in &SMALL_RECIPES {
                writeln!(out, "\n{name}: {about}")?;
                for line in options.lines() {
                    writeln!(out, "{}", format!("  {line}").trim_end())?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A small recipe with its options as an object.
fn json(recipe: &SmallRecipe) -> serde_json::Result<serde_json::Value> {
    let SmallRecipe { name, about, options } = recipe;
    let options: toml::Table = toml::from_str(options).map_err(serde::de::Error::custom)?;
    Ok(serde_json::json!({ "name": name, "about": about, "options": options }))
}

/// A heading and the options, as a TOML file has them.
fn text(recipe: &Recipe) -> Result<String> {
    let Recipe { name, knn, linear, .. } = recipe;
    let mut text = format!(
        "{name}: {knn:.1} % k-NN, {linear:.1} % linear on ImageNet-1K, {} pictures a step\n",
        recipe.pictures()
    );
    for (option, value) in recipe.table()? {
        text += &format!("  {option} = {value}\n");
    }
    Ok(text)
}
