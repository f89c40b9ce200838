//! Wrong usage: everything that is wrong with one command line, reported together.
//!
//! Made by the parser and by the programs when two flags contradict each other. It ends a program with exit code 2.

use std::fmt;

/// One thing that is wrong, with advice where there is some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What was expected and what was found. One line.
    pub message: String,
    /// What to do about it. One line.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without advice.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A list of problems in the making: a program checks everything, then asks once.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Nothing wrong so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one problem.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the checks.
    ///
    /// # Errors
    /// All collected problems, when there are any.
    pub fn finish(self) -> Result<(), UsageError> {
        if self.0.is_empty() { Ok(()) } else { Err(UsageError { problems: self.0 }) }
    }
}

/// A command line that cannot be run: at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError {
    problems: Vec<Problem>,
}

impl UsageError {
    /// An error of one problem.
    pub fn one(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }

    /// All problems, in the order in which they were found.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for UsageError {}
