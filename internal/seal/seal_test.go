package seal_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/internal/seal"
)

func key(t interface{ Fatal(...any) }, digit string) *seal.Key {
	k, err := seal.Parse(strings.Repeat(digit, 64))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What is sealed opens with the same key and purpose, and with no other, nor after a change of any
// bit.
func TestSealedContentOpensOnlyAsItWas(t *testing.T) {
	a, b := key(t, "a"), key(t, "b")
	rapid.Check(t, func(t *rapid.T) {
		content := rapid.SliceOf(rapid.Byte()).Draw(t, "content")
		sealed, err := a.Seal(content, "one")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.Open(sealed, "one"); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("opened %q, %v", got, err)
		}
		if _, err := a.Open(sealed, "two"); err == nil {
			t.Fatal("opened for another purpose")
		}
		if _, err := b.Open(sealed, "one"); err == nil {
			t.Fatal("opened with another key")
		}
		sealed[rapid.IntRange(0, len(sealed)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := a.Open(sealed, "one"); err == nil {
			t.Fatal("opened although it was changed")
		}
	})
}

func TestAKeyIsKeptInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "key")
	if _, err := seal.File(path, false); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a missing key: %v", err)
	}
	made, err := seal.File(path, true)
	if err != nil {
		t.Fatal(err)
	}
	again, err := seal.File(path, true)
	if err != nil || made.ID() != again.ID() {
		t.Fatalf("the key was %s and is %v, %v", made.ID(), again, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("its file has the mode %v, %v", info.Mode(), err)
	}
	if _, err := seal.Parse("abc"); err == nil {
		t.Error("took a key of 3 digits")
	}
}

// Whoever makes a key at the same time as others gets the one that stays.
func TestAllGetTheSameNewKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	ids := make([]string, 16)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			k, err := seal.File(path, true)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = k.ID()
		})
	}
	all.Wait()
	if len(slices.Compact(ids)) != 1 {
		t.Errorf("got the keys %v", ids)
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
