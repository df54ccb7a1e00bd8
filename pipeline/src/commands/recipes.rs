//! `recipes`: the published runs.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Format, RecipesArgs};
use crate::config::recipes::{RECIPES, Recipe};

/// Runs the command.
pub fn recipes(arguments: &RecipesArgs) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match arguments.format {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&RECIPES)?)?,
        Format::Text => {
            for (number, recipe) in RECIPES.iter().enumerate() {
                write!(out, "{}{}", if number > 0 { "\n" } else { "" }, text(recipe)?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
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
