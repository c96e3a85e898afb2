package rowsql

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

var texts = []function{
	{names: "|| concat", args: "varchar varchar...", result: "varchar", build: concatenate},
	{names: "concat_ws", args: "varchar varchar...", result: "varchar", build: concatenateWith},
	{names: "lower lcase", args: "varchar", result: "varchar", build: ofOne(func(v Value) Value { return String(strings.Map(lower, v.Text)) })},
	{names: "upper ucase", args: "varchar", result: "varchar", build: ofOne(func(v Value) Value { return String(strings.Map(upper, v.Text)) })},
	{names: "length len char_length character_length", args: "varchar", result: "bigint", build: ofOne(func(v Value) Value { return Int(int64(utf8.RuneCountInString(v.Text))) })},
	{names: "strlen", args: "varchar", result: "bigint", build: ofOne(func(v Value) Value { return Int(int64(len(v.Text))) })},
	{names: "substring substr", args: "varchar bigint", result: "varchar", build: substring},
	{names: "substring substr", args: "varchar bigint bigint", result: "varchar", build: substring},
	{names: "left", args: "varchar bigint", result: "varchar", build: leftOf},
	{names: "right", args: "varchar bigint", result: "varchar", build: rightOf},
	{names: "trim", args: "varchar", result: "varchar", build: trim(strings.Trim)},
	{names: "ltrim", args: "varchar", result: "varchar", build: trim(strings.TrimLeft)},
	{names: "rtrim", args: "varchar", result: "varchar", build: trim(strings.TrimRight)},
	{names: "trim", args: "varchar varchar", result: "varchar", build: trim(strings.Trim)},
	{names: "ltrim", args: "varchar varchar", result: "varchar", build: trim(strings.TrimLeft)},
	{names: "rtrim", args: "varchar varchar", result: "varchar", build: trim(strings.TrimRight)},
	{names: "replace", args: "varchar varchar varchar", result: "varchar", build: replace},
	{names: "starts_with prefix ^@", args: "varchar varchar", result: "boolean", build: ofTwo(func(a, b Value) Value { return Bool(strings.HasPrefix(a.Text, b.Text)) })},
	{names: "ends_with suffix", args: "varchar varchar", result: "boolean", build: ofTwo(func(a, b Value) Value { return Bool(strings.HasSuffix(a.Text, b.Text)) })},
	{names: "contains", args: "varchar varchar", result: "boolean", build: ofTwo(func(a, b Value) Value { return Bool(strings.Contains(a.Text, b.Text)) })},
	{names: "instr strpos position", args: "varchar varchar", result: "bigint", build: ofTwo(position)},
	{names: "~~", args: "varchar varchar", result: "boolean", build: like(true, false)},
	{names: "!~~", args: "varchar varchar", result: "boolean", build: like(false, false)},
	{names: "~~*", args: "varchar varchar", result: "boolean", build: like(true, true)},
	{names: "!~~*", args: "varchar varchar", result: "boolean", build: like(false, true)},
}

func lower(r rune) rune { return unicode.ToLower(r) }

func upper(r rune) rune {
	if r == 'ß' { // which has no single upper-case letter in Unicode's own table
		return 'ẞ'
	}
	return unicode.ToUpper(r)
}

// concatenate skips nulls as a function, and is null as an operator.
func concatenate(c *call) (eval, error) {
	parts, skip := c.args, strings.EqualFold(c.Name, "concat")
	return func(r *Row) Value {
		var memory [64]byte
		b, null := memory[:0], false
		for _, f := range parts {
			v := f(r)
			null = null || v.Null
			b = append(b, v.Text...)
		}
		if null && !skip {
			return Null
		}
		return String(string(b))
	}, nil
}

func concatenateWith(c *call) (eval, error) {
	separator, parts := c.args[0], c.args[1:]
	return func(r *Row) Value {
		between := separator(r)
		var memory [64]byte
		b, first := memory[:0], true
		for _, f := range parts {
			v := f(r)
			if v.Null {
				continue
			}
			if !first {
				b = append(b, between.Text...)
			}
			b = append(b, v.Text...)
			first = false
		}
		if between.Null {
			return Null
		}
		return String(string(b))
	}, nil
}

// trim removes the characters of a set, which are spaces if none is given.
func trim(f func(s, cutset string) string) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		if len(c.args) == 1 {
			return c.unaryOf(func(v Value) Value { return String(f(v.Text, " ")) }), nil
		}
		return c.binaryOf(func(a, b Value) Value { return String(f(a.Text, b.Text)) }), nil
	}
}

func replace(c *call) (eval, error) {
	text, from, to := c.args[0], c.args[1], c.args[2]
	return func(r *Row) Value {
		s, old, replacement := text(r), from(r), to(r)
		if s.Null || old.Null || replacement.Null {
			return Null
		}
		if old.Text == "" {
			return s
		}
		return String(strings.ReplaceAll(s.Text, old.Text, replacement.Text))
	}, nil
}

// position counts characters from 1; 0 is none.
func position(a, b Value) Value {
	i := strings.Index(a.Text, b.Text)
	if i < 0 {
		return Int(0)
	}
	return Int(int64(utf8.RuneCountInString(a.Text[:i])) + 1)
}

// bounds are the first character of a part and that after it, which count from 0.
type bounds struct{ from, to int64 }

func characters(s string, b bounds) string {
	from, to := b.from, b.to
	if from >= to {
		return ""
	}
	var i int64
	start := len(s)
	for at := range s {
		if i == from {
			start = at
		}
		if i == to {
			return s[start:at]
		}
		i++
	}
	return s[start:]
}

// substring counts from 1, or from the end if the position is negative. A negative length
// takes the characters before the position.
func substring(c *call) (eval, error) {
	text, at := c.args[0], c.args[1]
	var length eval
	if len(c.args) == 3 {
		length = c.args[2]
	}
	err := c.err("substring position or length outside of the range of DuckDB")
	undefined := c.err("substring from before the text, or backwards from after it, is not computed: in DuckDB it depends on whether other rows are ASCII")
	undefined.Refused = true
	return func(r *Row) Value {
		s, offset, n := text(r), at(r), Int(1<<32-1)
		if length != nil {
			n = length(r)
		}
		if s.Null || offset.Null || n.Null {
			return Null
		}
		from, count := offset.Int(), n.Int()
		const limit = 1<<32 - 1
		if from < -limit || from > limit || count < -limit || count > limit {
			return r.fail(err)
		}
		if count == 0 || s.Text == "" {
			return String("")
		}
		size := int64(utf8.RuneCountInString(s.Text))
		found := characters(s.Text, substringBounds(size, from, count, false))
		if found != characters(s.Text, substringBounds(size, from, count, true)) {
			return r.fail(undefined)
		}
		return String(found)
	}, nil
}

// substringBounds returns the characters of a substring. For texts that it knows to be
// ASCII, DuckDB first moves a position outside of the text into it.
func substringBounds(size, offset, length int64, ascii bool) bounds {
	start := offset - 1
	switch {
	case offset < 0:
		start = size + offset
	case offset == 0:
		if length--; length <= 0 {
			return bounds{}
		}
		start = 0
	}
	if ascii {
		start = min(max(start, 0), size)
	}
	end := start + length
	if length < 0 {
		start, end = end, start
	}
	return bounds{max(start, 0), min(end, size)}
}

func leftOf(c *call) (eval, error) {
	return c.binaryOf(func(s, n Value) Value {
		count := n.Int()
		if count < 0 {
			count += int64(utf8.RuneCountInString(s.Text))
		}
		return String(characters(s.Text, bounds{0, count}))
	}), nil
}

func rightOf(c *call) (eval, error) {
	return c.binaryOf(func(s, n Value) Value {
		size := int64(utf8.RuneCountInString(s.Text))
		count := n.Int()
		if count < 0 {
			count = max(size+count, 0)
			if n.Int() < -size {
				count = 0
			}
		}
		return String(characters(s.Text, bounds{max(size-min(count, size), 0), size}))
	}), nil
}

// like matches with a pattern in which % stands for any characters and _ for one.
func like(want, fold bool) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		if fold {
			return c.binaryOf(func(a, b Value) Value {
				return Bool(matches(strings.Map(lower, a.Text), strings.Map(lower, b.Text)) == want)
			}), nil
		}
		return c.binaryOf(func(a, b Value) Value { return Bool(matches(a.Text, b.Text) == want) }), nil
	}
}

func matches(s, pattern string) bool {
	// After a mismatch, the last % takes one more character.
	restS, restP, again := "", "", false
	for {
		switch {
		case pattern != "" && pattern[0] == '%':
			pattern = pattern[1:]
			restS, restP, again = s, pattern, true
			continue
		case s == "" && pattern == "":
			return true
		case s != "" && pattern != "" && pattern[0] == '_':
			_, n := utf8.DecodeRuneInString(s)
			s, pattern = s[n:], pattern[1:]
			continue
		case s != "" && pattern != "" && s[0] == pattern[0]:
			s, pattern = s[1:], pattern[1:]
			continue
		}
		if !again || restS == "" {
			return false
		}
		_, n := utf8.DecodeRuneInString(restS)
		restS = restS[n:]
		s, pattern = restS, restP
	}
}
