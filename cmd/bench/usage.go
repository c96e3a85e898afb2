package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is the CPU time of a process and all that it has started, and the largest memory of
// each, all together, in bytes.
func usage(pid int) (cpu time.Duration, peak int64, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, 0, err
	}
	children, times := map[int][]int{}, map[int]time.Duration{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// The name is in parentheses and may contain any byte.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		var numbers [3]int
		for i, field := range []int{1, 11, 12} { // the parent, and the time of the user and of the system
			if numbers[i], err = strconv.Atoi(fields[field]); err != nil {
				return 0, 0, err
			}
		}
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return 0, 0, err
		}
		children[numbers[0]] = append(children[numbers[0]], id)
		times[id] = time.Duration(numbers[1]+numbers[2]) * time.Second / 100
	}
	for all := []int{pid}; len(all) > 0; all = all[1:] {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", all[0]))
		if errors.Is(err, os.ErrNotExist) && all[0] != pid {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		_, after, _ := strings.Cut(string(text), "VmHWM:")
		var kilobytes int64
		if _, err := fmt.Sscan(after, &kilobytes); err != nil {
			return 0, 0, fmt.Errorf("the memory of process %d: %w", all[0], err)
		}
		cpu, peak = cpu+times[all[0]], peak+kilobytes*1024
		all = append(all, children[all[0]]...)
	}
	return cpu, peak, nil
}
