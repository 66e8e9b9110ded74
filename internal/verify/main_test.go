package verify_test

import (
	"testing"

	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }
