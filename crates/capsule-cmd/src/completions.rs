//! Completion scripts for bash, zsh and fish, made from the flag table and from the commands that a program has.

use std::fmt::Write as _;

use crate::flags::{Flag, Type};
use crate::help::Program;

/// A shell that has completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// `source <(program --completions=bash)`
    Bash,
    /// A file `_program` in a folder of `$fpath`.
    Zsh,
    /// `program --completions=fish | source`
    Fish,
}

impl Shell {
    /// The shell of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }
}

/// The script that teaches a shell the flags of a program.
pub fn script(shell: Shell, program: &Program) -> String {
    match shell {
        Shell::Bash => bash(program),
        Shell::Zsh => zsh(program),
        Shell::Fish => fish(program),
    }
}

fn bash(program: &Program) -> String {
    let name = program.name;
    let function = name.replace('-', "_");
    let mut words = String::new();
    let mut cases = String::new();
    for flag in program.table.flags() {
        let equals = if flag.metavar.is_empty() { "" } else { "=" };
        let _ = write!(words, "{}--{}{equals}", if words.is_empty() { "" } else { " " }, flag.name);
        match flag.value_type() {
            Some(Type::Choice(choices)) => {
                let _ = writeln!(
                    cases,
                    "        --{}) COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return ;;",
                    flag.name,
                    choices.join(" ")
                );
            }
            Some(Type::Path) => {
                let _ = writeln!(cases, "        --{}) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;", flag.name);
            }
            _ => {}
        }
    }
    let mut first = String::new();
    let commands = program.commands();
    if !commands.is_empty() {
        let commands = commands.join(" ");
        let _ = write!(
            first,
            "    elif [[ $COMP_CWORD == 1 ]]; then\n        COMPREPLY=($(compgen -W '{commands}' -- \"$cur\"))\n"
        );
    }
    // bash splits words at `=`, so the flag before a value is one or two words back.
    format!(
        "# bash completion of {name}
_{function}() {{
    local cur=\"${{COMP_WORDS[COMP_CWORD]}}\" flag=\"${{COMP_WORDS[COMP_CWORD-1]}}\"
    if [[ $cur == = ]]; then flag=\"${{COMP_WORDS[COMP_CWORD-1]}}\" cur=; fi
    if [[ $flag == = ]]; then flag=\"${{COMP_WORDS[COMP_CWORD-2]}}\"; fi
    case \"$flag\" in
{cases}    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W '{words}' -- \"$cur\"))
        [[ ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace
{first}    else
        COMPREPLY=($(compgen -f -- \"$cur\"))
    fi
}}
complete -o filenames -F _{function} {name}
"
    )
}

fn zsh(program: &Program) -> String {
    let name = program.name;
    let mut out = format!("#compdef {name}\n_arguments -S");
    for flag in program.table.flags() {
        // Inside single quotes only the quote itself is special; brackets and colons are so to `_arguments`.
        let help = summary(flag)
            .replace('\\', "\\\\")
            .replace('[', "\\[")
            .replace(']', "\\]")
            .replace(':', "\\:")
            .replace('\'', "'\\''");
        let metavar = flag.metavar.replace(':', "\\:");
        let action = match flag.value_type() {
            None => String::new(),
            Some(Type::Choice(choices)) => format!(":{metavar}:({})", choices.join(" ")),
            Some(Type::Path) => format!(":{metavar}:_files"),
            Some(_) => format!(":{metavar}: "),
        };
        let equals = if flag.metavar.is_empty() { "" } else { "=" };
        let _ = write!(out, " \\\n    '*--{}{equals}[{help}]{action}'", flag.name);
    }
    let commands = program.commands();
    if !commands.is_empty() {
        let _ = write!(out, " \\\n    '1:command:({})'", commands.join(" "));
    }
    out.push_str(" \\\n    '*:file:_files'\n");
    out
}

fn fish(program: &Program) -> String {
    let name = program.name;
    let mut out = format!("# fish completion of {name}\n");
    let commands = program.commands();
    if !commands.is_empty() {
        let _ = writeln!(out, "complete -c {name} -n __fish_use_subcommand -f -a '{}'", commands.join(" "));
    }
    for flag in program.table.flags() {
        let help = summary(flag).replace('\\', "\\\\").replace('\'', "\\'");
        let value = match flag.value_type() {
            None => String::new(),
            Some(Type::Choice(choices)) => format!(" -x -a '{}'", choices.join(" ")),
            Some(Type::Path) => " -r -F".to_owned(),
            Some(_) => " -x".to_owned(),
        };
        let _ = writeln!(out, "complete -c {name} -l {}{value} -d '{help}'", flag.name);
    }
    out
}

/// The first sentence of the help.
fn summary(flag: &Flag) -> &'static str {
    match flag.help.split_once(". ") {
        Some((first, _)) => first,
        None => flag.help.trim_end_matches('.'),
    }
}
