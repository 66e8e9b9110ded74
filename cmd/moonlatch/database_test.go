package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFolderThatCantBeMadeSaysThatDatabaseURLIsMissing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"serve", "migrate"} {
		moonlatch(t, []string{"ADDR=127.0.0.1:0", "DATA_DIR=" + filepath.Join(file, "data")}, "", command).
			expect(t, exitFailed, "DATABASE_URL is not set").expect(t, exitFailed, "set DATABASE_URL, or DATA_DIR")
	}
}
