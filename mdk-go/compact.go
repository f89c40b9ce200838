package capsule

import (
	"strings"
	"unicode/utf8"
)

// compactJSON takes the white space out of a JSON text as runners do with the JSONBody of a response document; all else stays as
// written. It says false of a text that is not one JSON value (RFC 8259). It does not recurse, so that a text from outside cannot exhaust
// the stack.
func compactJSON(text string) (string, bool) {
	text = strings.Trim(text, " \t\r\n")
	scanner := jsonScanner{text: text}
	if !utf8.ValidString(text) || !scanner.value() || scanner.at != len(text) {
		return "", false
	}
	if !scanner.spaced {
		return text, true
	}
	out := make([]byte, 0, len(text))
	for at := 0; at < len(text); at++ {
		switch char := text[at]; char {
		case ' ', '\t', '\r', '\n':
		case '"':
			end := stringEnd(text, at)
			out = append(out, text[at:end+1]...)
			at = end
		default:
			out = append(out, char)
		}
	}
	return textOf(out), true
}

// jsonScanner is a place in a JSON text.
type jsonScanner struct {
	text string
	at   int
	// White space was passed.
	spaced bool
}

// value passes a value.
func (s *jsonScanner) value() bool {
	// The closing brackets of what is open. Deeper ones than these are rare.
	var room [64]byte
	open := room[:0]
	for {
		switch char := s.next(); char {
		case '{', '[':
			s.at++
			// The closing bracket comes two places behind the opening one in ASCII.
			if !s.pass(char + 2) {
				open = append(open, char+2)
				if char == '{' && !s.key() {
					return false
				}
				continue
			}
		case '"':
			if !s.string() {
				return false
			}
		default:
			if !s.scalar() {
				return false
			}
		}
		// A value has ended here, and with it perhaps those around it.
		for len(open) > 0 && s.pass(open[len(open)-1]) {
			open = open[:len(open)-1]
		}
		if len(open) == 0 {
			return true
		}
		if !s.pass(',') || open[len(open)-1] == '}' && !s.key() {
			return false
		}
	}
}

// next passes white space and says what follows: 0 at the end, and nothing that may follow.
func (s *jsonScanner) next() byte {
	for s.at < len(s.text) {
		switch char := s.text[s.at]; char {
		case ' ', '\t', '\r', '\n':
			s.at++
			s.spaced = true
		default:
			return char
		}
	}
	return 0
}

// pass passes white space and a character, or says that something else is there.
func (s *jsonScanner) pass(char byte) bool {
	if s.next() != char {
		return false
	}
	s.at++
	return true
}

// key passes the name of a member and its colon.
func (s *jsonScanner) key() bool {
	return s.next() == '"' && s.string() && s.pass(':')
}

// string passes a string, at its opening quote.
func (s *jsonScanner) string() bool {
	for s.at++; s.at < len(s.text); s.at++ {
		switch char := s.text[s.at]; {
		case char == '"':
			s.at++
			return true
		case char == '\\':
			s.at++
			if !s.escape() {
				return false
			}
		case char < ' ':
			return false
		}
	}
	return false
}

// escape passes an escape but for its last character, behind its backslash.
func (s *jsonScanner) escape() bool {
	if s.at >= len(s.text) {
		return false
	}
	if s.text[s.at] != 'u' {
		return strings.IndexByte(`"\/bfnrt`, s.text[s.at]) >= 0
	}
	for end := s.at + 4; s.at < end; {
		s.at++
		if s.at >= len(s.text) || !isHexDigit(s.text[s.at]) {
			return false
		}
	}
	return true
}

func isHexDigit(char byte) bool {
	return '0' <= char && char <= '9' || 'a' <= char && char <= 'f' || 'A' <= char && char <= 'F'
}

// scalar passes a number, true, false or null.
func (s *jsonScanner) scalar() bool {
	rest := s.text[s.at:]
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(rest, word) {
			s.at += len(word)
			return true
		}
	}
	return s.number()
}

// number passes a number (RFC 8259, section 6).
func (s *jsonScanner) number() bool {
	s.is('-')
	if !s.is('0') && !s.digits() {
		return false
	}
	if s.is('.') && !s.digits() {
		return false
	}
	if s.is('e') || s.is('E') {
		if !s.is('+') {
			s.is('-')
		}
		return s.digits()
	}
	return true
}

// is passes a character when it is here.
func (s *jsonScanner) is(char byte) bool {
	if s.at >= len(s.text) || s.text[s.at] != char {
		return false
	}
	s.at++
	return true
}

// digits passes digits, one at least.
func (s *jsonScanner) digits() bool {
	start := s.at
	for s.at < len(s.text) && '0' <= s.text[s.at] && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > start
}
