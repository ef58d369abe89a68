import pytest
import torch

from netmorph.data import Split, normalize
from netmorph.errors import NetmorphError
from netmorph.train.evaluation import evaluate, predict
from tests.train.small import dataset, network


@pytest.mark.parametrize("batch_size", [7, 1024])
def test_metrics_and_probabilities_match_a_direct_computation(batch_size):
    data, model = dataset(), network()
    metrics = evaluate(model, data.test, data, batch_size=batch_size)
    probabilities = predict(model, data.test, data, batch_size=batch_size)
    model.eval()
    expected = model(normalize(data.test.inputs, data.preparation.mean, data.preparation.std)).softmax(1).detach()
    right = expected[torch.arange(30), data.test.targets]
    torch.testing.assert_close(probabilities, expected)
    assert metrics.loss == pytest.approx(-right.log().mean().item(), rel=1e-5)
    assert metrics.accuracy == pytest.approx((expected.argmax(1) == data.test.targets).float().mean().item())
    assert metrics.count == 30


@pytest.mark.parametrize("views", [2, 6])
def test_the_mean_of_the_logits_of_all_views_counts(views):
    data, model = dataset(), network().eval()
    images = normalize(data.test.inputs, data.preparation.mean, data.preparation.std)
    wide = torch.nn.functional.pad(images, (1, 1, 1, 1), "reflect")
    seen = [images, wide[:, :, :6, :6], wide[:, :, 2:, 2:]][: views // 2]
    with torch.no_grad():
        expected = sum(model(view) + model(torch.flip(view, (3,))) for view in seen) / views
    assert not torch.allclose(expected, model(images), atol=1e-3)
    torch.testing.assert_close(predict(model, data.test, data, views=views), expected.softmax(1))
    right = expected.log_softmax(1)[torch.arange(30), data.test.targets]
    assert evaluate(model, data.test, data, views=views).loss == pytest.approx(-right.mean().item(), rel=1e-5)


def test_requests_that_cannot_be_met_are_refused():
    data = dataset(test=2)
    with pytest.raises(NetmorphError, match="views must be one of 1, 2, 6; 3 was given"):
        evaluate(network(), data.test, data, views=3)
    with pytest.raises(NetmorphError, match="share 2 of 3 shares of 2 images is empty"):
        evaluate(network(), data.test, data, share=(2, 3))


def test_the_model_is_left_as_it_was():
    data, model = dataset(), network()
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    evaluate(model, data.test, data)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_bfloat16_probabilities_are_close_and_wide():
    data, model = dataset(), network()
    low = predict(model, data.test, data, bf16=True)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, predict(model, data.test, data), atol=0.02, rtol=0)


def test_what_does_not_fit_is_refused_and_the_mode_restored():
    data, model = dataset(), network(classes=2)
    with pytest.raises(NetmorphError, match="labels go from 0 to 2"):
        evaluate(model, data.test, data)
    assert model.training
    empty = Split(torch.empty(0, 1, 6, 6, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
    with pytest.raises(NetmorphError, match="split is empty"):
        predict(network(), empty, data)


def test_a_batch_that_does_not_fit_into_memory_is_halved():
    data, model = dataset(), network()
    sizes = []

    def limited(_, inputs):
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")

    expected = evaluate(model, data.test, data)
    hook = model.register_forward_pre_hook(limited)
    found = evaluate(model, data.test, data, batch_size=30)
    assert sizes == [30, 15, 7, 7, 7, 7, 2]
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert (found.accuracy, found.count) == (expected.accuracy, 30)
    hook.remove()
    model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(model, data.test, data)
