//! Reads a pickle into a flat list of nodes. Nothing is imported or called; whatever is not known stays a description.

use std::collections::HashMap;

use super::opcode::*;
use super::tree::{Node, Tree};
use super::{PickleError, tree};

/// Parses a whole pickle.
pub(crate) fn parse(bytes: &[u8]) -> Result<Tree, PickleError> {
    let mut parser = Parser {
        bytes,
        at: 0,
        opcode_at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let outcome = parser.run();
    let offset = parser.opcode_at;
    let root = outcome.map_err(|what| PickleError { offset, what })?;
    Ok(Tree { nodes: parser.nodes, root, pickle_len: bytes.len() })
}

/// Each opcode adds at most one node, so memory is bounded by the length of the pickle.
struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    opcode_at: usize,
    nodes: Vec<Node>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: HashMap<u32, usize>,
}

impl Parser<'_> {
    fn run(&mut self) -> Result<usize, String> {
        loop {
            self.opcode_at = self.at;
            let opcode = self.take::<1>()?[0];
            if opcode == STOP {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            PROTO => self.protocol(),
            MARK => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            POP => self.pop().map(drop),
            NONE | NEWTRUE | NEWFALSE | BININT | BININT1 | BININT2 | LONG1 | BINFLOAT | BINUNICODE => {
                let node = self.scalar(opcode)?;
                self.push(node)
            }
            EMPTY_LIST => self.push(Node::List(Vec::new())),
            EMPTY_DICT => self.push(Node::Dict { ordered: false, items: Vec::new() }),
            EMPTY_TUPLE => self.push(Node::Tuple(Vec::new())),
            TUPLE | TUPLE1 | TUPLE2 | TUPLE3 => self.tuple(opcode),
            APPEND | APPENDS => self.append(opcode),
            SETITEM | SETITEMS => self.set_items(opcode),
            BINPUT | LONG_BINPUT => self.put(opcode),
            BINGET | LONG_BINGET => self.get(opcode),
            GLOBAL => self.global(),
            REDUCE | NEWOBJ => self.call(),
            BUILD => self.build(),
            BINPERSID => {
                let id = self.pop()?;
                let storage = tree::storage(&self.nodes, id)?;
                self.push(storage)
            }
            other => Err(format!("opcode 0x{other:02x} is not known; only protocol 2, as PyTorch writes it, is read")),
        }
    }

    fn protocol(&mut self) -> Result<(), String> {
        match self.take::<1>()?[0] {
            2 => Ok(()),
            other => Err(format!("protocol {other} is not supported, only 2")),
        }
    }

    fn scalar(&mut self, opcode: u8) -> Result<Node, String> {
        Ok(match opcode {
            NONE => Node::None,
            NEWTRUE => Node::Bool(true),
            NEWFALSE => Node::Bool(false),
            BININT => Node::Int(i32::from_le_bytes(self.take()?).into()),
            BININT1 => Node::Int(self.take::<1>()?[0].into()),
            BININT2 => Node::Int(u16::from_le_bytes(self.take()?).into()),
            LONG1 => Node::Int(self.long()?),
            BINFLOAT => Node::Float(f64::from_be_bytes(self.take()?)),
            _ => Node::Str(self.text()?),
        })
    }

    /// A little-endian two's complement of up to 8 bytes.
    fn long(&mut self) -> Result<i64, String> {
        let length = usize::from(self.take::<1>()?[0]);
        let bytes = self.slice(length)?;
        if length > 8 {
            return Err(format!("an integer of {length} bytes is beyond 64 bits"));
        }
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut padded = [fill; 8];
        padded[..length].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(padded))
    }

    fn text(&mut self) -> Result<String, String> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        let bytes = self.slice(length)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "text is not UTF-8".to_owned())
    }

    fn tuple(&mut self, opcode: u8) -> Result<(), String> {
        let items = match opcode {
            TUPLE => self.pop_mark()?,
            _ => {
                let count = usize::from(opcode - TUPLE1) + 1;
                let start = self.above_mark(count)?;
                self.stack.split_off(start)
            }
        };
        self.push(Node::Tuple(items))
    }

    fn append(&mut self, opcode: u8) -> Result<(), String> {
        let added = if opcode == APPENDS { self.pop_mark()? } else { vec![self.pop()?] };
        let target = self.top()?;
        match &mut self.nodes[target] {
            Node::List(items) => items.extend(added),
            other => return Err(format!("items are appended to {}, which is no list", other.describe())),
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Result<(), String> {
        let added = match opcode {
            SETITEMS => self.pop_mark()?,
            _ => {
                let start = self.above_mark(2)?;
                self.stack.split_off(start)
            }
        };
        let target = self.top()?;
        let Node::Dict { items, .. } = &mut self.nodes[target] else {
            return Err(format!("items are set in {}, which is no dict", self.nodes[target].describe()));
        };
        if added.len() % 2 != 0 {
            return Err("a key without a value".to_owned());
        }
        items.extend(added.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn put(&mut self, opcode: u8) -> Result<(), String> {
        let index = self.memo_index(opcode == BINPUT)?;
        let id = self.top()?;
        self.memo.insert(index, id);
        Ok(())
    }

    fn get(&mut self, opcode: u8) -> Result<(), String> {
        let index = self.memo_index(opcode == BINGET)?;
        let id = self.memo.get(&index).ok_or_else(|| format!("memo {index} is empty"))?;
        self.stack.push(*id);
        Ok(())
    }

    fn memo_index(&mut self, short: bool) -> Result<u32, String> {
        if short { Ok(self.take::<1>()?[0].into()) } else { Ok(u32::from_le_bytes(self.take()?)) }
    }

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        self.push(Node::Global(format!("{module}.{name}")))
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("the pickle ends in a name")?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map(str::to_owned).map_err(|_| "a name is not UTF-8".to_owned())
    }

    fn call(&mut self) -> Result<(), String> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Node::Tuple(arguments) = &self.nodes[arguments] else {
            return Err("a call without a tuple of arguments".to_owned());
        };
        let Node::Global(global) = &self.nodes[callee] else {
            return Err(format!("{} is called, which is no class or function", self.nodes[callee].describe()));
        };
        let node = tree::called(&self.nodes, global, arguments).map_err(|what| format!("{global}: {what}"))?;
        self.push(node)
    }

    fn build(&mut self) -> Result<(), String> {
        let (attributes, target) = (self.pop()?, self.top()?);
        match &mut self.nodes[target] {
            Node::Object { state, .. } => *state = Some(attributes),
            // The `_metadata` of a module's state dict: versions, which only PyTorch's own loading reads.
            Node::Dict { ordered: true, .. } => {}
            other => return Err(format!("attributes are set on {}", other.describe())),
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<(), String> {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    /// Where the topmost `count` items start; they must lie above the last mark.
    fn above_mark(&self, count: usize) -> Result<usize, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack
            .len()
            .checked_sub(count)
            .filter(|start| *start >= floor)
            .ok_or_else(|| "the stack is empty".to_owned())
    }

    fn top(&self) -> Result<usize, String> {
        self.above_mark(1).map(|index| self.stack[index])
    }

    fn pop(&mut self) -> Result<usize, String> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn pop_mark(&mut self) -> Result<Vec<usize>, String> {
        let start = self.marks.pop().ok_or("there is no mark on the stack")?;
        Ok(self.stack.split_off(start))
    }

    fn slice(&mut self, length: usize) -> Result<&[u8], String> {
        let rest = &self.bytes[self.at..];
        let slice = rest.get(..length).ok_or_else(|| format!("{length} bytes are needed, {} are left", rest.len()))?;
        self.at += length;
        Ok(slice)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.slice(N)?);
        Ok(bytes)
    }
}
