package hugepages_test

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	_ "github.com/tenon-ml/tenon/internal/hugepages"
)

// What a program allocates first may be in huge pages.
func TestTheHeapMayHaveHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this kernel has no huge pages: ", err)
	}
	var blocks [][]byte
	for range 8 {
		blocks = append(blocks, make([]byte, 1<<20))
	}
	advised := 0
	for _, b := range blocks {
		if strings.Contains(flags(t, uintptr(unsafe.Pointer(&b[0])))+" ", " hg ") {
			advised++
		}
	}
	runtime.KeepAlive(blocks)
	if advised < 6 { // some may be in what was mapped before
		t.Errorf("%d of 8 blocks may have huge pages", advised)
	}
}

// flags returns what the kernel says of the mapping of an address.
func flags(t *testing.T, address uintptr) string {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			in = from <= address && address < to
		}
		if rest, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && in {
			return rest
		}
	}
	t.Fatalf("nothing is mapped at %x", address)
	return ""
}
