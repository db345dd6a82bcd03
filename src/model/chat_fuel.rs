//! What a chat template's work costs, in the engine's fuel.
//!
//! The engine charges for instructions, text and the items of one list. It does not charge for a value that holds
//! another twice (`[x, x]`, sixty times over), for a namespace that holds itself, nor for a sum of lists until someone
//! asks for its items. So a compiled template is rewritten: a call that weighs an instruction's operands stands before
//! each instruction that walks them, and one that writes lists out stands after each whose result may be a promise.
//!
//! Invariant: no operator, filter, test, function or method walks a value that was not weighed just before.
//! Invariant: lists are written out when they are made; `range` alone stays a promise, of at most 100,000 items.
//!
//! Called by [`super::chat`].

use std::sync::Arc;

use minijinja::machinery::{Instruction, Instructions, Span, Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Tuple, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Bytes of text that weigh as much as one instruction: the engine's own price.
const BYTES_PER_FUEL: usize = 64;

/// Lists and maps inside each other; Python's json stops at about a thousand, templates use three.
const DEPTH_MAX: usize = 64;

/// Digits of a width or precision in a format.
const WIDTH_DIGITS_MAX: usize = 4;

/// Blanks for each level of indented JSON.
const INDENT_MAX: usize = 16;

/// Words and signs of one `{{ }}` or `{% %}`; published templates use some hundred.
const BLOCK_TOKENS_MAX: usize = 2048;

/// Words behind which a value begins.
const WORDS: [&str; 20] = [
    "and",
    "call",
    "do",
    "elif",
    "else",
    "extends",
    "filter",
    "for",
    "from",
    "if",
    "import",
    "in",
    "include",
    "is",
    "macro",
    "not",
    "or",
    "recursive",
    "set",
    "with",
];

/// Names of the calls that are put in; no template can spell them.
const WEIGH: &str = "weigh operands";
const WRITE_OUT: &str = "write out";

/// Refuses blocks that take the compiler long or much: it computes constants without fuel, again at each level.
pub(super) fn check_blocks(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    let refuse = |problem: String, span: Span| {
        Err(Error::new(ErrorKind::SyntaxError, format!("line {}: {problem}", span.start_line)))
    };
    let (mut tokens, mut lists, mut products) = (0, false, false);
    // May an operand end before this token? Then `[` is an index, and `*` a product.
    let mut is_behind_operand = false;
    for token in tokenize(source, false, syntax.clone()) {
        let (token, span) = token?;
        tokens += 1;
        match token {
            Token::BlockStart | Token::VariableStart => (tokens, lists, products) = (0, false, false),
            Token::BracketOpen => lists |= !is_behind_operand,
            Token::Mul => products |= is_behind_operand,
            _ => {}
        }
        is_behind_operand = match token {
            Token::Ident(name) => !WORDS.contains(&name),
            Token::BracketClose | Token::ParenClose | Token::BraceClose => true,
            Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) => true,
            _ => false,
        };
        if tokens > BLOCK_TOKENS_MAX {
            return refuse(format!("a block of more than {BLOCK_TOKENS_MAX} words and signs"), span);
        }
        if lists && products {
            return refuse("a block with both `[` and `*`, which could multiply a list".to_owned(), span);
        }
    }
    Ok(())
}

/// Adds the calls that [`metered`] refers to, and lets whatever makes much of little pay for it first.
pub(super) fn install(environment: &mut Environment<'_>) {
    // Both are the engine's own and print without end; Jinja2 has no `debug` by default.
    environment.remove_global("debug");
    environment.remove_filter("pprint");
    environment.add_filter("format", format);
    environment.add_filter("tojson", tojson);
    environment.set_unknown_method_callback(|state, value, method, args| {
        if method == "format" {
            weigh_format(state, value, args)?;
        }
        unknown_method_callback(state, value, method, args)
    });
    let globals: Vec<(String, Value)> = environment.globals().map(|(name, f)| (name.to_owned(), f)).collect();
    for (name, function) in globals {
        environment.add_global(name, Value::from_object(Weighed(function)));
    }
    environment.add_global(WEIGH, Value::from_object(Weigh));
    environment.add_global(WRITE_OUT, Value::from_object(WriteOut));
}

/// The same instructions with their operands weighed and their lists written out.
pub(super) fn metered<'s>(plain: &Instructions<'s>) -> Result<Instructions<'s>, Error> {
    let mut out = Instructions::new(plain.name(), plain.source());
    // Where each plain instruction begins in `out`; jumps go there.
    let mut starts = Vec::new();
    let mut len = 0;
    while let Some(instruction) = plain.get(starts.len() as u32) {
        let line = plain.get_line(starts.len() as u32).unwrap_or(0).min(usize::from(u16::MAX)) as u16;
        starts.push(len);
        let mut put = |instruction| len = out.add_with_line(instruction, line) + 1;
        match operands(instruction)? {
            Operands::None => {}
            Operands::Top(n) => {
                put(Instruction::CallFunction(WEIGH, Some(n)));
                put(Instruction::UnpackLists(1));
                put(Instruction::DiscardTop);
            }
            // The count lies on the stack, where UnpackLists puts it again.
            Operands::Counted => {
                put(Instruction::CallFunction(WEIGH, None));
                put(Instruction::UnpackLists(1));
            }
        }
        put(instruction.clone());
        if may_promise(instruction) {
            put(Instruction::CallFunction(WRITE_OUT, Some(1)));
        }
    }
    starts.push(len);
    for index in 0..len {
        if let Some(target) = out.get_mut(index).and_then(target_mut) {
            *target = starts[*target as usize];
        }
    }
    Ok(out)
}

/// Which values on the stack an instruction walks.
enum Operands {
    None,
    /// So many from the top.
    Top(u16),
    /// As many as the number on top says.
    Counted,
}

fn operands(instruction: &Instruction<'_>) -> Result<Operands, Error> {
    let top = |n: usize| {
        u16::try_from(n).map(Operands::Top).map_err(|_| {
            Error::new(ErrorKind::InvalidOperation, format!("a map of {n} keys and values, at most 65535"))
        })
    };
    match instruction {
        // The key is on top; the container is not walked.
        Instruction::GetItem | Instruction::Emit => top(1),
        Instruction::StringConcat
        | Instruction::Eq
        | Instruction::Ne
        | Instruction::Gt
        | Instruction::Gte
        | Instruction::Lt
        | Instruction::Lte
        | Instruction::In
        | Instruction::CompareAndPreserve(_) => top(2),
        Instruction::Slice => top(4),
        Instruction::BuildMap(pairs) => top(2 * pairs),
        Instruction::MergeKwargs(maps) => top(*maps),
        Instruction::ApplyFilter(_, count, _)
        | Instruction::PerformTest(_, count, _)
        | Instruction::CallMethod(_, count) => Ok(count.map_or(Operands::Counted, Operands::Top)),
        _ => Ok(Operands::None),
    }
}

/// Whether the result may be a list whose items are made when they are asked for.
fn may_promise(instruction: &Instruction<'_>) -> bool {
    matches!(
        instruction,
        Instruction::Add
            | Instruction::Mul
            | Instruction::Slice
            | Instruction::ApplyFilter(..)
            | Instruction::CallMethod(..)
    )
}

fn target_mut<'a>(instruction: &'a mut Instruction<'_>) -> Option<&'a mut u32> {
    match instruction {
        Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target)
        | Instruction::Iterate(target)
        | Instruction::BuildMacro(_, target, _) => Some(target),
        _ => None,
    }
}

/// Charges for a value and for all that is in it, as often as it is in it.
fn weigh(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
    state.consume_fuel(1 + (value.as_str().map_or(0, str::len) / BYTES_PER_FUEL) as u64)?;
    let Some(object) = value.as_object() else { return Ok(()) };
    if depth == DEPTH_MAX {
        let problem = format!("values are nested more than {DEPTH_MAX} deep");
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    if object.repr() == ObjectRepr::Map {
        for (key, value) in object.try_iter_pairs().into_iter().flatten() {
            weigh(state, &key, depth + 1)?;
            weigh(state, &value, depth + 1)?;
        }
    } else {
        for item in object.try_iter().into_iter().flatten() {
            weigh(state, &item, depth + 1)?;
        }
    }
    Ok(())
}

fn weigh_all(state: &State<'_, '_>, values: &[Value]) -> Result<(), Error> {
    values.iter().try_for_each(|value| weigh(state, value, 0))
}

/// Charges for a text that each of its conversions may hold in full, padded.
fn weigh_format(state: &State<'_, '_>, text: &Value, args: &[Value]) -> Result<(), Error> {
    let Some(text) = text.as_str() else { return Ok(()) };
    let is_long = |spec: &str| spec.split(|c: char| !c.is_numeric()).any(|n| n.chars().count() > WIDTH_DIGITS_MAX);
    if conversions(text).any(is_long) {
        let problem = format!("a format with a number of more than {WIDTH_DIGITS_MAX} digits");
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    for _ in text.matches(['%', '{']) {
        state.consume_fuel((10usize.pow(WIDTH_DIGITS_MAX as u32) / BYTES_PER_FUEL) as u64)?;
        weigh_all(state, args)?;
    }
    Ok(())
}

/// What may be the widths of a format's conversions: behind `{` up to `}`, behind `%` and a name up to a letter.
fn conversions(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(['%', '{']).filter_map(|(at, sign)| {
        let rest = &text[at + 1..];
        if sign == "{" {
            return rest.split('}').next();
        }
        let rest = rest.strip_prefix('(').and_then(|named| named.split_once(')')).map_or(rest, |named| named.1);
        rest.split(char::is_alphabetic).next()
    })
}

fn format(state: &mut State<'_, '_>, text: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = args.into_values();
    weigh_format(state, text, &args)?;
    let all: Vec<Value> = std::iter::once(text.clone()).chain(args).collect();
    Value::from_function(filters::format).call(state, &all)
}

fn tojson(state: &State<'_, '_>, value: &Value, indent: Option<Value>, args: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => args.get("indent")?,
    };
    let width = indent.clone().map_or(0, |indent| usize::try_from(indent).unwrap_or(0));
    if width > INDENT_MAX {
        let problem = format!("tojson: indent: {width} blanks, at most {INDENT_MAX}");
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    // A line is indented once for each level that it lies in.
    (0..width).try_for_each(|_| weigh(state, value, 0))?;
    filters::tojson(value, indent, args)
}

/// Weighs its arguments and gives them back.
#[derive(Debug)]
struct Weigh;

impl Object for Weigh {
    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        weigh_all(state, args)?;
        Ok(Value::from(args.to_vec()))
    }
}

/// A function that weighs its arguments first.
#[derive(Debug)]
struct Weighed(Value);

impl Object for Weighed {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        weigh_all(state, args)?;
        self.0.call(state, args)
    }
}

/// Gives its argument back; a promise of a list as that list.
#[derive(Debug)]
struct WriteOut;

impl Object for WriteOut {
    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let value = &args[0];
        let Some(object) = value.as_object() else { return Ok(value.clone()) };
        let promise = matches!(object.repr(), ObjectRepr::Seq | ObjectRepr::Iterable)
            && value.downcast_object_ref::<Vec<Value>>().is_none()
            && value.downcast_object_ref::<Tuple>().is_none();
        if !promise {
            return Ok(value.clone());
        }
        let mut items = Vec::new();
        for item in value.try_iter()?.checked() {
            state.consume_fuel(1)?;
            items.push(item?);
        }
        Ok(Value::from(items))
    }
}
