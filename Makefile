# Two commands: `make demo` shows the product, `make test` proves it.
# Both set up .venv by themselves; scripts/demo and scripts/test do the same where make is absent.
.PHONY: demo test check stop bootstrap clean

demo:            ## five nodes, a clip, a frozen and a killed node, a receipt
	@scripts/demo $(ARGS)

test:            ## ruff, mypy, import contracts, every test
	@scripts/test $(ARGS)

check:           ## the same as test, without the slow end-to-end tests
	@scripts/check --fast

stop:            ## end what `make demo ARGS=--keep` left running
	@.venv/bin/storage-server cluster down --dir .cluster

bootstrap:
	@scripts/bootstrap

clean:
	rm -rf .venv .cluster build dist *.egg-info
