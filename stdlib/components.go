package stdlib

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
)

//go:embed python/*.py python/components.json python/requirements/*.lock python/requirements/sizes.txt
var pythonFiles embed.FS

// A PythonComponent is a component written in Python.
type PythonComponent struct {
	Main        string   `json:"main"`        // the script that is run
	Files       []string `json:"files"`       // the modules it imports
	Environment string   `json:"environment"` // a lock's name, or ModelEnvironment
}

// ModelEnvironment stands for the environment that the model was trained in:
// what judges and serves a model runs on the same versions as what made it.
const ModelEnvironment = ""

// PythonVersion is the version of the interpreter that all environments are
// locked for.
const PythonVersion = "3.11"

// Python returns the Python component of that name.
func Python(component string) (PythonComponent, bool) {
	c, ok := pythonComponents()[component]
	return c, ok
}

var pythonComponents = sync.OnceValue(func() map[string]PythonComponent {
	b, err := pythonFiles.ReadFile("python/components.json")
	if err != nil {
		panic(err) // the file is embedded
	}
	m := map[string]PythonComponent{}
	if err := json.Unmarshal(b, &m); err != nil {
		panic(fmt.Sprintf("stdlib: components.json: %v", err))
	}
	return m
})

// PythonFile returns a file of the Python components.
func PythonFile(name string) ([]byte, error) {
	return fs.ReadFile(pythonFiles, "python/"+name)
}

// Lock returns the lock of a Python environment, with digests.
func Lock(environment string) ([]byte, error) {
	return fs.ReadFile(pythonFiles, "python/requirements/"+environment+".lock")
}

// WheelSizes returns the sizes in bytes of the wheels that environments of the library
// install on machines of an architecture, as Go names it. They are by digest, as
// locks write it.
func WheelSizes(arch string) map[string]int64 {
	b, err := pythonFiles.ReadFile("python/requirements/sizes.txt")
	if err != nil {
		panic(err) // the file is embedded
	}
	sizes := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] != arch {
			continue
		}
		n, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			panic(fmt.Sprintf("stdlib: sizes.txt: %v", err))
		}
		sizes[f[1]] = n
	}
	return sizes
}

// Pins returns what a lock pins, as requirements without digests.
func Pins(lock []byte) []string {
	var pins []string
	for line := range strings.Lines(string(lock)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "--") {
			pins = append(pins, strings.TrimSpace(strings.TrimSuffix(line, "\\")))
		}
	}
	return pins
}
