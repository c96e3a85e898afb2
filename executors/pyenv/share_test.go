package pyenv_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tenon-ml/tenon/executors/pyenv"
)

// Two environments with a common package share its files and its bytecode, even if uv's
// cache is on another file system, so that uv has to copy.
func TestEnvironmentsShareTheFilesOfPackages(t *testing.T) {
	for name, cache := range map[string]string{"one file system": t.TempDir(), "two": elsewhere(t)} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("UV_CACHE_DIR", cache)
			e := pyenv.New(pyenv.Options{Dir: t.TempDir(), UV: uv(t)})
			first := root(ensure(t, e, lockText))
			second := root(ensure(t, e, lockText+tabulate))
			shared := 0
			for path, id := range inodes(t, filepath.Join(first, "lib")) {
				if !strings.Contains(path, "/iniconfig") || strings.HasSuffix(path, "/RECORD") || strings.HasSuffix(path, "/uv_cache.json") {
					continue
				}
				if got := inodes(t, filepath.Join(second, "lib"))[path]; got.ino != id.ino {
					t.Errorf("%s is there twice", path)
				}
				shared++
			}
			if shared < 10 { // of five modules, each compiled, and the files about the package
				t.Errorf("only %d files are shared", shared)
			}
			alone := pyenv.New(pyenv.Options{Dir: t.TempDir(), UV: uv(t)})
			both, apart := usage(t, first, second), usage(t, first)+usage(t, root(ensure(t, alone, lockText+tabulate)))
			if saved := apart - both; saved < 20_000 {
				t.Errorf("both take %d bytes on the disk, and %d apart", both, apart)
			}
			code := `import iniconfig, tabulate, sys
assert iniconfig.__cached__.startswith(sys.prefix), iniconfig.__cached__
assert iniconfig.IniConfig.get.__code__.co_filename.startswith(sys.prefix), iniconfig.IniConfig.get.__code__.co_filename
print(iniconfig.IniConfig("x", "[a]\nb=c")["a"]["b"])`
			if got := python(t, filepath.Join(second, "bin", "python"), code); got != "c" {
				t.Errorf("the shared package gives %s", got)
			}
		})
	}
}

// A file that does not match its package's list is not shared.
func TestADamagedFileIsNotShared(t *testing.T) {
	t.Setenv("UV_CACHE_DIR", elsewhere(t))
	e := pyenv.New(pyenv.Options{Dir: t.TempDir(), UV: uv(t)})
	module := func(dir string) string {
		found, err := filepath.Glob(filepath.Join(dir, "lib", "*", "site-packages", "iniconfig", "__init__.py"))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		return found[0]
	}
	first := root(ensure(t, e, lockText))
	whole, err := os.ReadFile(module(first))
	if err != nil {
		t.Fatal(err)
	}
	spoiled := bytes.Replace(whole, []byte("class IniConfig"), []byte("class BadConfig"), 1) // of the same size
	if err := os.WriteFile(module(first), spoiled, 0o644); err != nil {
		t.Fatal(err)
	}
	second := root(ensure(t, e, lockText+tabulate))
	if got := python(t, filepath.Join(second, "bin", "python"), `import iniconfig; print(hasattr(iniconfig, "IniConfig"))`); got != "True" {
		t.Error("the second environment has the damaged file of the first")
	}
}

func TestProgressIsReported(t *testing.T) {
	t.Setenv("UV_CACHE_DIR", t.TempDir())
	e := pyenv.New(pyenv.Options{Dir: t.TempDir(), UV: uv(t)})
	var stages []pyenv.Stage
	var last pyenv.Progress
	tell := func(p pyenv.Progress) {
		if len(stages) == 0 || stages[len(stages)-1] != p.Stage {
			stages = append(stages, p.Stage)
		}
		last = p
	}
	if _, err := e.Ensure(t.Context(), []byte(lockText+numpy), tell); err != nil {
		t.Fatal(err)
	}
	want := []pyenv.Stage{pyenv.Waiting, pyenv.Fetching, pyenv.Compiling}
	if len(stages) != len(want) || stages[0] != want[0] || stages[1] != want[1] || stages[2] != want[2] {
		t.Errorf("the stages are %v", stages)
	}
	if last.Packages != 2 || last.Total < 10<<20 || last.Bytes != last.Total || last.AllFiles < 100 || last.Files != last.AllFiles {
		t.Errorf("at the end it is %+v", last)
	}
	stages = nil
	if _, err := e.Ensure(t.Context(), []byte(lockText+numpy), tell); err != nil || stages != nil {
		t.Errorf("an environment that exists reports %v, %v", stages, err)
	}
}

// elsewhere returns a folder on another file system than that of temporary files.
func elsewhere(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tenon-uv-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func root(python string) string { return filepath.Dir(filepath.Dir(python)) }

type inode struct {
	dev, ino uint64
	bytes    int64 // on the disk
}

// inodes returns the regular files below dir.
func inodes(t *testing.T, dir string) map[string]inode {
	t.Helper()
	all := map[string]inode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		all[strings.TrimPrefix(path, dir)] = inode{st.Dev, st.Ino, st.Blocks * 512}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// usage returns what du reports for folders: a file with several names counts once.
func usage(t *testing.T, dirs ...string) (n int64) {
	t.Helper()
	seen := map[inode]bool{}
	for _, dir := range dirs {
		for _, f := range inodes(t, dir) {
			if !seen[f] {
				seen[f] = true
				n += f.bytes
			}
		}
	}
	return n
}

// numpy is large enough for uv to report its download.
const numpy = `numpy==2.4.6 \
    --hash=sha256:001fbb8e08d942dd57599e781f2472269ee7f2755fae407b4f67b2f0b17da3f1 \
    --hash=sha256:0280e0356c0829a18d9de1cb7eee50ec22ca639878d7240307ca0943d73cd2c4 \
    --hash=sha256:043191bfa8eab18c776647b62723ac9dddece59743b13f49b2016094129c2b3f \
    --hash=sha256:06ca2f61ec4385a07a6977c55ba998a4466c123642b4a32694d3128fce18c079 \
    --hash=sha256:0a041d3d761dc3c35cc56ce0351506a02bcbc25f7b169f652435141a17db9096 \
    --hash=sha256:0ab0a9c4ffb1a6d95ef519fe4247dba8eb6b18ad93999f76b7f657039acabd47 \
    --hash=sha256:0c9136e14ed34a9e343a31c533d78a9813a69a3148332bce5e9821cb2f996e66 \
    --hash=sha256:110f8b71aacb688ec69062bb7f6938a0f8acb01b7c1c4beb453c65b6d234584d \
    --hash=sha256:112b06a867b235ef466ed3508ddf0238050df9c727cafb5301ac385b899189a1 \
    --hash=sha256:17f9ade344e7d9b464a084d69bcf18fc691cb1db67c62ed80820bf4926d78f0e \
    --hash=sha256:1e254a00cdf42b1e4d5b3d68d33af63268d41340d8885df2ab6470f2e1500147 \
    --hash=sha256:1e978ec1e8bd0e0e4de6bb75de9d30cbb74db6b6a2bb727618613703ca0167dd \
    --hash=sha256:25c692919ac5a01f170a3bfcd62d745b24fd095c353d50812637d6fcab442e75 \
    --hash=sha256:260a5d70215b61ab4fadf5c7baacd64821842975eea312125ed3c39a6391b063 \
    --hash=sha256:2803abfebfc990042cd494d8ce2d5f82e9d847af6d35ec486923aa19dbad5e73 \
    --hash=sha256:29a287e0cf63ff528da061de6b9f64a4618da591ca1046aafc54062e40ca7eab \
    --hash=sha256:29cb7f67d10b479ff07c17d33e39f78c07f71c40ef30d63c153d340e96cd3fb4 \
    --hash=sha256:3213d622a0283a39a93d188f3cf72b26862df52fbb4ca3697f51705016523d41 \
    --hash=sha256:33111801a01c12a8a1e3721f0a9232f8cfc8ae2c6b7098167e6f623c6073f402 \
    --hash=sha256:357cc07a6d7b0b182ff02249616a03742827ebb1277546b5c7cd7f7620a45698 \
    --hash=sha256:38efbc8de75c7a0fc1ac190162d892787f3f47b57cc291231aafee36b80982b7 \
    --hash=sha256:4081eb135ac24158bd51cdfbef16f1c64df7063b1143f24731387137c092bec8 \
    --hash=sha256:40fdc1ae7125e518ea98e53e69a4ebc27e1fd50510c47b7ea130cf21e5e1d42b \
    --hash=sha256:4cfe66903cc32a9921a6733d96b19bb6abf310397581bbad89c228f5abaf0ee8 \
    --hash=sha256:511dbaf848decaaaf4b4ca48032619fb3138710c4bf7da7617765edad1ef96b0 \
    --hash=sha256:55cced7c52e981362f708ad635198e97a752dfba412cc03c23bbf3bd8d5cd662 \
    --hash=sha256:56b39e5e0622a09a25bf5baf62f4bcf0cb8a41ae6e2819cf49bbc5a74c083f91 \
    --hash=sha256:5dbbdb29840ca3d91ee0fece42fc29278886d908280bfec0a5846c6f901a3eb0 \
    --hash=sha256:5f9fb9157b4ce2971008323afe46053787b526ef624fea915b261468a8421a0f \
    --hash=sha256:6180d8b35af935aed8ece3a85e0a43f87393ae0ac87c8d2c8bd2c993f7270ef3 \
    --hash=sha256:68a5124b13fa6cc2086764a20005d30bc0548146f7f5322f02fce212ca14317f \
    --hash=sha256:68bb27509ac1b9a3443094260f6326150663b06abe40b73a2f81160623da5b67 \
    --hash=sha256:6f41ae150c4e32db4f3310cdaf64b1593a03dbabe29eec77fc9b50fe64061df6 \
    --hash=sha256:7265a2f3d436e54ef9f2b52b5c937e6be778781bd97a590319d7348f1c1ca997 \
    --hash=sha256:72fbe16c6fac95aedf5937fa873445cec2110be35d8a4e9433d7501fd98dae6b \
    --hash=sha256:7d92c3819208a60205a12a245c91ad70cb0a85336659b19b834205573ac8456e \
    --hash=sha256:8155154c7c691289fe18f510b5d4657c68c67989f293f0535a91360392ff6538 \
    --hash=sha256:81a1cca95ed5bb92aa8b10dd2cdc9a0d3853a50fad926c28b5d7e8ea54389627 \
    --hash=sha256:89cd468399cfd2504718f0ba50e410dca55a170b61a02ad92bb18c8a65186e93 \
    --hash=sha256:8ad03c0965fb3c692200e74d458ca28c1dbb4ce96f9a479a8aa041ad5fabca02 \
    --hash=sha256:90f9849678c75fe7afa2d348ac842c168b0a4d3d61919687216dfc547976d853 \
    --hash=sha256:948424b06129ce883307e8cff868c31396d8dc7630a59c61d70d98dbe70f222c \
    --hash=sha256:9cd5ffd25db4e7ba6a375693b3fc0fc1791ec636c17db3720da19bde7180ec43 \
    --hash=sha256:a0df0043bdb289bde1f62da130d20df23d58b45429f752bc7a8fc5325a225ecd \
    --hash=sha256:a2c306dea656c12c68f51f4cea133cbe78ca7435eb28c735eac1d3ebe73be6e8 \
    --hash=sha256:a7830bab239b79cda9c08c2da014761cafb48da6150e1da17ac06283f43b6089 \
    --hash=sha256:a7c711e21628b52034bb5ab8d1bce291f752fcc5e92accc615778acee1ff4778 \
    --hash=sha256:aaf159caa35993cb1f56fb9b8e4610d35758e7ca005412eb1daa856a78c9c4b1 \
    --hash=sha256:ae506e6902902557576a26ff33eda8695e7ecb3cb36c3b573a0765dee114ebdb \
    --hash=sha256:b507f5c4c1d508876d1819b6bf9a49d365b96320b5d4993426b33a23ca4b8261 \
    --hash=sha256:bf162abab1c1a736333192707cef898e735a5ca00f38f27eeedf44b39d9e85eb \
    --hash=sha256:c1a2af6c6ef86344a6b0db6b97834208bf598db514f2b155042439b62605601a \
    --hash=sha256:c2d37ab77531417474168eb79d6d80b14f821a966818505d03013d0833edb7a8 \
    --hash=sha256:c4fc99836233ea196540b17ab0983aff60ed07941751930f5f4d05bc3b3b7359 \
    --hash=sha256:d581b735e177fdcdce6fed8e7e8880a3fb6ee4e3653a3ac6af01c6f4c03effc5 \
    --hash=sha256:d6da64deb6b8ed903e7560180a92f2d804ee1ba5eeb849ac2748b8c1aba1f6d7 \
    --hash=sha256:d8e8286dd7cea7895157318d1b91cdacac64c479f3cbc8dce548331728484751 \
    --hash=sha256:ddea102b48f9e339f3948bf22040944184627a30fdf7f858667673b9c5f033c8 \
    --hash=sha256:dfa20cc6ca228e6b155b11da03825975ce66aea520985dbbddf0f2a5a495c605 \
    --hash=sha256:e3e5193ef5a3dc73bceee50f7fdc2c90dbb76c42df8d8fae3d1067a583df579e \
    --hash=sha256:e3eeb0aabd6bd5ce64faae67e9935203a6991b4bc2a485a767fbafb2c5125f45 \
    --hash=sha256:e5805d5a22fd19c8ccff10a9561f9df94436b0545619ea579db2d3c35294bce2 \
    --hash=sha256:e85b752a1e912b70eaad4fafbd4d1238007ab221de2009b9a2f5ae7461239895 \
    --hash=sha256:eaf7fa2de5c0be8ae6ff8e9bea2ccd725e980541244521d8d4b5f3354a27babe \
    --hash=sha256:ebfb099f8dcf083deef3ac1ca4c1503f387cf76296fcb3816b66f5ecb5f54fdb \
    --hash=sha256:ece3d2cfe132e7d51f44a832b303895e6f2d499c5e74dfbdb06ee246147a304a \
    --hash=sha256:ed9749eef4cbd126da3dc1d6bcb3a57f5eb7ac6a6484146bdbf743f552dfc577 \
    --hash=sha256:ede83e07a75dd06bc501566c1eca2afc0d61677c1472ac9ad93fdee6e638a48d \
    --hash=sha256:ef4aea96ce4d3b074422cb4f2f64e216bf9e213004bb58ecfdf50ea02ea8eb9a \
    --hash=sha256:f3a3570c4a2a16746ac2c31a7c7c7b0c186b95ce902e33db6f28094ed7387dda \
    --hash=sha256:f407cb6b8e9d6d8c626bc73c945db1706035af8fd632295547bf1c9e46d092d6 \
    --hash=sha256:f74a575920ab21fe304421a3fc28793d82e299cae9eccb37084e9fc7f3617c20
`
