package compiler

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/tenon-ml/tenon/internal/diag"
)

// mostOwn is the largest file of a user for OpenTofu, in bytes.
const mostOwn = 1 << 20

// ownFiles replaces the patterns in `files` of a target by the files that they match, with their content: a
// revision has what it was applied with.
func (c *checker) ownFiles(target string, settings map[string]any) {
	patterns, ok := settings["files"].([]any)
	if !ok {
		return
	}
	all := map[string]any{}
	for i, p := range patterns {
		pattern, _ := p.(string)
		found, err := c.options.Files(c.sys.Dir, []string{pattern})
		c.trackFiles(pattern, found[pattern])
		for _, file := range found[pattern] {
			content, err2 := c.readOwn(file)
			if err2 != nil {
				err = err2
				break
			}
			all[file] = content
		}
		if err != nil {
			c.fault(diag.Diagnostic{
				Message: fmt.Sprintf("the files of targets.%s cannot be read: %v", target, err),
				Spans:   []diag.Span{c.sys.At("", "targets", target, "files", strconv.Itoa(i))},
				Hint:    "`files` are files for OpenTofu in a folder of the system: \"extra/*.tf\"",
			})
		}
	}
	settings["files"] = all
}

func (c *checker) readOwn(file string) (string, error) {
	at := c.onDisk(file)
	f, err := os.Open(at)
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, mostOwn+1))
	if err == nil && len(content) > mostOwn {
		err = fmt.Errorf("%s has more than 1 MiB", file)
	}
	c.options.Tracker.File(at, content)
	return string(content), err
}
