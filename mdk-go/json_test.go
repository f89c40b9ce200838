package capsule

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func FuzzQuote(f *testing.F) {
	for _, text := range []string{"", "a", `"\`, "\x00\x1f\x7f\n\r\t", "😀", "\xff\xfeabc\xc3", "\u2028"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var back string
		if err := json.Unmarshal([]byte(Quote(text)), &back); err != nil {
			t.Fatalf("%q: %v", Quote(text), err)
		}
		if want := string([]rune(text)); back != want {
			t.Fatalf("%q became %q", want, back)
		}
	})
}

func FuzzOneValueAgreesWithTheStandardLibrary(f *testing.F) {
	for _, text := range []string{`{}`, `[1,2]`, `"a"`, `1`, ` null `, `{},"x":1`, `1 2`, `"`, `}`, ``, `{"a":"}"}`, `"a\"`, `[}{]`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if json.Valid([]byte(text)) && !isOneValue(text) {
			t.Fatalf("%q is refused", text)
		}
		// What is let through either stays in its place or makes the document unreadable.
		var document map[string]json.RawMessage
		if isOneValue(text) && json.Unmarshal([]byte(`{"a":`+text+`,"b":1}`), &document) == nil {
			if len(document) != 2 || string(document["b"]) != "1" {
				t.Fatalf("%q changed the document around it", text)
			}
		}
	})
}

func TestOneValueDoesNotRecurse(t *testing.T) {
	deep := strings.Repeat("[", 10_000_000)
	if isOneValue(deep) || !isOneValue(deep+strings.Repeat("]", 10_000_000)) {
		t.Error("nesting is miscounted")
	}
}

func TestObject(t *testing.T) {
	object := NewObject().Text("a\"", "b\n").Int("i", -5).Float("f", 1.5).Float("nan", math.NaN()).Float("inf", math.Inf(-1)).
		Bool("t", true).Texts("l", []string{"x", "y"}).Texts("none", nil).
		Object("o", NewObject().Int("n", 1)).Object("nil", nil).JSON("j", `[1, 2]`).JSON("bad", `1,"x":2`)
	want := `{"a\"":"b\n","i":-5,"f":1.5,"nan":null,"inf":null,"t":true,"l":["x","y"],"none":[],"o":{"n":1},"nil":null,"j":[1, 2],"bad":null}`
	if object.String() != want {
		t.Errorf("got  %s\nwant %s", object, want)
	}
	if got := new(Object).String(); got != "{}" {
		t.Errorf("an empty object is %s", got)
	}
}

func TestReasonsStayShort(t *testing.T) {
	SetHandleJSON(echoJSON)
	framed := string(answerJSON([]byte(strings.Repeat("[", 1_000_000))))
	if !strings.HasPrefix(framed, "Fthe argument is not JSON: ... ") || !strings.Contains(framed, "too big depth") || len(framed) > 300 {
		t.Errorf("%d bytes: %.400s", len(framed), framed)
	}
}
