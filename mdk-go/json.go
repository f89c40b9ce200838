package capsule

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// Quote makes a JSON string of a text: quotes around it, and everything escaped that JSON wants escaped. Bytes that are not UTF-8
// become U+FFFD.
func Quote(text string) string {
	return string(appendQuoted(make([]byte, 0, len(text)+2), text))
}

func appendQuoted(out []byte, text string) []byte {
	return append(appendEscaped(append(out, '"'), text), '"')
}

// appendEscaped writes the inside of a JSON string.
func appendEscaped(out []byte, text string) []byte {
	copied := 0
	for at := 0; at < len(text); {
		char := text[at]
		if char >= utf8.RuneSelf {
			rune, size := utf8.DecodeRuneInString(text[at:])
			if rune == utf8.RuneError && size == 1 {
				out = append(out, text[copied:at]...)
				out = append(out, "\uFFFD"...)
				copied = at + 1
			}
			at += size
			continue
		}
		if char >= ' ' && char != '"' && char != '\\' {
			at++
			continue
		}
		out = append(out, text[copied:at]...)
		switch char {
		case '"', '\\':
			out = append(out, '\\', char)
		case '\b':
			out = append(out, '\\', 'b')
		case '\f':
			out = append(out, '\\', 'f')
		case '\n':
			out = append(out, '\\', 'n')
		case '\r':
			out = append(out, '\\', 'r')
		case '\t':
			out = append(out, '\\', 't')
		default:
			out = append(out, '\\', 'u', '0', '0', hexDigits[char>>4], hexDigits[char&15])
		}
		at++
		copied = at
	}
	return append(out, text[copied:]...)
}

// isOneValue says whether a text that is put into a document as a value stays in its place: strings end, brackets close, and
// nothing follows the value. The grammar inside is checked by who reads the document. It does not recurse, so that a text from
// outside cannot exhaust the stack.
func isOneValue(text string) bool {
	depth, values := 0, 0
	inWord := false
	for at := 0; at < len(text); at++ {
		char := text[at]
		wasInWord := inWord
		inWord = false
		switch char {
		case ' ', '\t', '\n', '\r':
		case '"':
			end := stringEnd(text, at)
			if end < 0 {
				return false
			}
			at = end
			if depth == 0 {
				values++
			}
		case '{', '[':
			if depth == 0 {
				values++
			}
			depth++
		case '}', ']':
			depth--
			if depth < 0 {
				return false
			}
		case ',', ':':
			if depth == 0 {
				return false
			}
		default:
			inWord = true
			if depth == 0 && !wasInWord {
				values++
			}
		}
		if values > 1 {
			return false
		}
	}
	return depth == 0 && values == 1
}

// stringEnd finds the closing quote of the string that opens at start, or -1.
func stringEnd(text string, start int) int {
	for at := start + 1; at < len(text); at++ {
		switch text[at] {
		case '\\':
			at++
		case '"':
			return at
		}
	}
	return -1
}

// longestReason is how many bytes of the parser's reason an error shows. The parser names every level of nesting, the innermost last.
const longestReason = 200

// notJSON says what could not be parsed and why.
func notJSON(what string, err error) error {
	reason := err.Error()
	if len(reason) > longestReason {
		reason = "... " + strings.ToValidUTF8(reason[len(reason)-longestReason:], "")
	}
	return errors.New(what + " is not JSON: " + reason)
}

// Object builds the text of a JSON object field by field, without reflection, so that it stays small under TinyGo:
//
//	capsule.NewObject().Text("message", message).Int("count", 3).String()
//
// Fields keep their order. A name given twice appears twice. The zero value is an empty object.
type Object struct {
	fields []byte
}

// NewObject starts an empty object.
func NewObject() *Object {
	return &Object{}
}

// Text adds a string.
func (o *Object) Text(name, value string) *Object {
	o.name(name)
	o.fields = appendQuoted(o.fields, value)
	return o
}

// Int adds a whole number.
func (o *Object) Int(name string, value int64) *Object {
	o.name(name)
	o.fields = strconv.AppendInt(o.fields, value, 10)
	return o
}

// Float adds a number. JSON has no infinities and no NaN: they become null.
func (o *Object) Float(name string, value float64) *Object {
	o.name(name)
	if value-value != 0 {
		o.fields = append(o.fields, "null"...)
		return o
	}
	o.fields = strconv.AppendFloat(o.fields, value, 'g', -1, 64)
	return o
}

// Bool adds true or false.
func (o *Object) Bool(name string, value bool) *Object {
	o.name(name)
	o.fields = strconv.AppendBool(o.fields, value)
	return o
}

// Texts adds an array of strings; nil is an empty array.
func (o *Object) Texts(name string, values []string) *Object {
	o.name(name)
	o.fields = append(o.fields, '[')
	for index, value := range values {
		if index > 0 {
			o.fields = append(o.fields, ',')
		}
		o.fields = appendQuoted(o.fields, value)
	}
	o.fields = append(o.fields, ']')
	return o
}

// Object adds an object within this one; nil is null.
func (o *Object) Object(name string, value *Object) *Object {
	if value == nil {
		return o.JSON(name, "null")
	}
	return o.JSON(name, value.String())
}

// JSON adds a value that is JSON text already. A text that would not stay in its place becomes null.
func (o *Object) JSON(name, text string) *Object {
	if !isOneValue(text) {
		text = "null"
	}
	o.name(name)
	o.fields = append(o.fields, text...)
	return o
}

// String is the object as compact JSON.
func (o *Object) String() string {
	return "{" + string(o.fields) + "}"
}

func (o *Object) name(name string) {
	if len(o.fields) > 0 {
		o.fields = append(o.fields, ',')
	}
	o.fields = appendQuoted(o.fields, name)
	o.fields = append(o.fields, ':')
}
