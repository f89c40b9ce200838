package capsule

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"
)

func TestCompactJSON(t *testing.T) {
	for text, want := range map[string]string{
		` { "b c" : [ 1.50 ,` + "\n" + `1e3 ], "a\" \\" : " " } `: `{"b c":[1.50,1e3],"a\" \\":" "}`,
		"\t-0.5E+10\r\n": `-0.5E+10`, `[ ]`: `[]`, `{ }`: `{}`, `[{},[{}],""]`: `[{},[{}],""]`, ` true `: `true`, `"\u00e9 é"`: `"\u00e9 é"`,
	} {
		if got, valid := compactJSON(text); !valid || got != want {
			t.Errorf("%q became %q, %v", text, got, valid)
		}
	}
	compact := ` {"a b":[1,2]}`
	if got, _ := compactJSON(compact); unsafe.StringData(got) != unsafe.StringData(compact[1:]) {
		t.Error("a compact text was copied")
	}
	for _, text := range []string{
		``, ` `, `{`, `[`, `}`, `{}}`, `[1,]`, `[,1]`, `[1 2]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{1:1}`, `[}`, `{]`, `[1}`, `1 2`, `01`, `1.`, `.5`,
		`-`, `+1`, `1e`, `1e+`, `--1`, `nul`, `nulll`, `True`, `NaN`, `"`, `"a`, `"\`, `"\"`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\u123`, "\"\n\"", "\"\x00\"", "\x00",
		"\"\xff\"", `'a'`, "\ufeff{}", "[1]\x0c", "\u00a01",
	} {
		if got, valid := compactJSON(text); valid {
			t.Errorf("%q is JSON, %q", text, got)
		}
	}
}

func TestCompactJSONDoesNotRecurse(t *testing.T) {
	const depth = 1_000_000
	deep := strings.Repeat(`[{"a": `, depth)
	if _, valid := compactJSON(deep); valid {
		t.Error("brackets that stay open are JSON")
	}
	compact, valid := compactJSON(deep + "1" + strings.Repeat("}]", depth))
	if !valid || len(compact) != depth*8+1 {
		t.Errorf("%d bytes, %v", len(compact), valid)
	}
}

func FuzzCompactJSONAgreesWithTheStandardLibrary(f *testing.F) {
	for _, text := range []string{`{}`, ` [1, 2e5 ]`, `"a\u00e9\n"`, `{"a" : [{}, null, true, false, -1.5E-3]}`, `[1,]`, `{"a":"}"`, "\xff", `"` + "\x1f" + `"`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, valid := compactJSON(text)
		if want := utf8.ValidString(text) && json.Valid([]byte(text)); valid != want {
			t.Fatalf("%q: %v, want %v", text, valid, want)
		}
		var compact bytes.Buffer
		if valid && (json.Compact(&compact, []byte(text)) != nil || compact.String() != got) {
			t.Fatalf("%q became %q, want %q", text, got, compact.String())
		}
	})
}
