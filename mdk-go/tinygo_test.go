//go:build !wasm

package capsule

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"
)

// These tests keep the SDK and the example functions within what TinyGo supports on machines that do not have it; check.sh builds
// with TinyGo where it is.

// supportedImports are the packages that TinyGo compiles for wasip1 without reflection at run time and without goroutines.
var supportedImports = map[string]bool{
	"embed": true, "encoding/base64": true, "errors": true, "runtime": true, "sort": true, "strconv": true, "strings": true,
	"unicode/utf8": true, "unsafe": true,
	"github.com/valyala/fastjson":               true,
	"github.com/bots-garden/capsule-module-sdk": true,
}

// hostFunctions are all that a runner offers in module env (docs/abi.md, section 2), by number of parameters.
var hostFunctions = map[string]int{
	"hostPrintString": 2, "hostLogString": 2, "hostTalk": 4, "hostGetEnv": 4, "hostReadFile": 4, "hostWriteFile": 6, "hostHTTP": 4,
	"hostCacheSet": 6, "hostCacheGet": 4, "hostCacheDel": 4, "hostCacheKeys": 4,
	"hostRedisSet": 6, "hostRedisGet": 4, "hostRedisDel": 4, "hostRedisKeys": 4,
}

// packages are the folders that TinyGo builds: this one and the example functions.
func packages(t *testing.T) []string {
	t.Helper()
	functions, err := filepath.Glob("../functions/*/go")
	if err != nil {
		t.Fatal(err)
	}
	return append(functions, ".")
}

// goCommand runs the go command as TinyGo would see a package.
func goCommand(t *testing.T, folder string, arguments ...string) string {
	t.Helper()
	command := exec.Command("go", arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=-tags=tinygo")
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s in %s: %v\n%s", strings.Join(arguments, " "), folder, err, output)
	}
	return string(output)
}

func TestTinyGoSupportsWhatIsImported(t *testing.T) {
	for _, folder := range packages(t) {
		imports := goCommand(t, folder, "list", "-f", `{{join .Imports "\n"}}`, ".")
		for _, name := range strings.Fields(imports) {
			if !supportedImports[name] {
				t.Errorf("%s imports %s, which is not known to work with TinyGo", folder, name)
			}
		}
	}
}

func TestWhatTinyGoSeesCompiles(t *testing.T) {
	for _, folder := range packages(t) {
		// Compiles the package without its tests and links nothing.
		goCommand(t, folder, "list", "-export", "-f", "{{.Export}}", ".")
	}
}

// directives finds the functions of a file that have a comment directive, by the last word of the directive.
func directives(t *testing.T, file, directive string) map[string]*ast.FuncDecl {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*ast.FuncDecl{}
	for _, declaration := range parsed.Decls {
		function, isFunction := declaration.(*ast.FuncDecl)
		if !isFunction || function.Doc == nil {
			continue
		}
		for _, comment := range function.Doc.List {
			if words := strings.Fields(comment.Text); words[0] == directive {
				found[words[len(words)-1]] = function
			}
		}
	}
	return found
}

func TestImportsAreTheHostFunctionsInPlainTypes(t *testing.T) {
	imports := directives(t, "imports.go", "//go:wasmimport")
	for name, parameters := range hostFunctions {
		function, declared := imports[name]
		if !declared {
			t.Errorf("%s is not imported", name)
			continue
		}
		count := 0
		for _, field := range function.Type.Params.List {
			count += len(field.Names)
			switch kind := field.Type.(type) {
			case *ast.Ident:
				if kind.Name != "uint32" {
					t.Errorf("%s takes a %s", name, kind.Name)
				}
			case *ast.SelectorExpr:
				if kind.Sel.Name != "Pointer" {
					t.Errorf("%s takes a %s", name, kind.Sel.Name)
				}
			default:
				t.Errorf("%s takes a %T", name, kind)
			}
		}
		if count != parameters {
			t.Errorf("%s takes %d parameters, want %d", name, count, parameters)
		}
	}
	if len(imports) != len(hostFunctions) {
		t.Errorf("%d functions are imported, want %d", len(imports), len(hostFunctions))
	}
}

// exportNames lists what a file exports.
func exportNames(t *testing.T, file, directive string) []string {
	t.Helper()
	names := []string{}
	for name := range directives(t, file, directive) {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func TestBothCompilersExportTheSame(t *testing.T) {
	want := []string{"allocateBuffer", "callHandle", "callHandleHTTP", "callHandleJSON", "callHandleRequest"}
	if got := exportNames(t, "exports_tinygo.go", "//export"); !reflect.DeepEqual(got, want) {
		t.Errorf("TinyGo exports %q, want %q", got, want)
	}
	// TinyGo brings these two.
	want = append(want, "free", "malloc")
	if got := exportNames(t, "exports_go.go", "//go:wasmexport"); !reflect.DeepEqual(got, want) {
		t.Errorf("Go exports %q, want %q", got, want)
	}
	hooks, err := filepath.Glob("../functions/*/go/exports_tinygo.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range hooks {
		got := exportNames(t, filepath.Join(filepath.Dir(file), "exports_go.go"), "//go:wasmexport")
		if want := exportNames(t, file, "//export"); !reflect.DeepEqual(got, want) {
			t.Errorf("%s exports %q, for Go it is %q", file, want, got)
		}
	}
}
